/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The guest of the KVM probe. Its bytes are BOOT_SECTOR in plugins/module_utils/kvm_probe.py. */
    .code16
    .globl _start
_start:
    ljmp $0, $begin
begin:
    cli
    cld
    xorw %ax, %ax
    movw %ax, %ds
    movw %ax, %es
    movw %ax, %ss
    movw $0x7c00, %sp
    movw $0x3f8, %dx
    movb $'B', %al
    outb %al, %dx
    /* four zeroed pages at 0x1000: PML4, PDPT, PD (first 2 MiB, one large page), IDT */
    movw $0x1000, %di
    xorl %eax, %eax
    movw $0x1000, %cx
    rep stosl
    movw $0x2003, 0x1000
    movw $0x3003, 0x2000
    movw $0x0083, 0x3000
    movw $tick, 0x4200
    movw $0x0008, 0x4202
    movw $0x8e00, 0x4204
    /* PIC: IRQ 0 is vector 0x20, everything else masked. PIT: 1193 counts, about 1 ms */
    movb $0x11, %al
    outb %al, $0x20
    movb $0x20, %al
    outb %al, $0x21
    movb $0x04, %al
    outb %al, $0x21
    movb $0x01, %al
    outb %al, $0x21
    movb $0xfe, %al
    outb %al, $0x21
    movb $0xff, %al
    outb %al, $0xa1
    movb $0x34, %al
    outb %al, $0x43
    movb $0xa9, %al
    outb %al, $0x40
    movb $0x04, %al
    outb %al, $0x40
    /* long mode: PAE, page tables, EFER.LME, then paging and protection at once */
    lgdtw gdtr
    lidtw idtr
    movl $0x20, %eax
    movl %eax, %cr4
    movl $0x1000, %eax
    movl %eax, %cr3
    movl $0xc0000080, %ecx
    rdmsr
    btsl $8, %eax
    wrmsr
    movl %cr0, %eax
    orl $0x80000001, %eax
    movl %eax, %cr0
    ljmp $8, $long
    .code64
long:
    movw $16, %ax
    movw %ax, %ss
    movl $0x7c00, %esp
    movw $0x3f8, %dx
    movb $'L', %al
    outb %al, %dx
    xorl %ebx, %ebx
    sti
wait:
    hlt
    cmpl $10, %ebx
    jb wait
    cli
    movb $'T', %al
    outb %al, %dx
    movl $0x8000000, %ecx
turn:
    decl %ecx
    jnz turn
    movb $'R', %al
    outb %al, %dx
stop:
    hlt
    jmp stop
tick:
    pushq %rax
    incl %ebx
    movb $0x20, %al
    outb %al, $0x20
    popq %rax
    iretq
gdt:
    .quad 0
    .quad 0x00209a0000000000
    .quad 0x0000920000000000
gdtr:
    .word gdtr - gdt - 1
    .long gdt
idtr:
    .word 0x020f
    .long 0x4000
    .org 510
    .word 0xaa55
