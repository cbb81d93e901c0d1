# SPDX-License-Identifier: GPL-3.0-or-later
"""Which NUMA cells, pinned CPUs and page size a guest asks for, by extra specs (`hw:`) and image properties (`hw_`).

Source of the rules: numa_get_constraints() of nova/virt/hardware.py, release 34.0.0. A guest gets a topology
when it asks for `numa_nodes`, `mem_page_size`, or `cpu_policy` dedicated or mixed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from berth.placement.devices import parse_cpus

POLICIES = ("shared", "dedicated", "mixed")
THREAD_POLICIES = ("prefer", "isolate", "require")
PAGE_WORDS = ("small", "large", "any")
_YES = ("yes", "y", "true", "t", "on", "1")
_NO = ("no", "n", "false", "f", "off", "0")
_MOST_CELLS = 128
_KIB = {"k": 1, "ki": 1, "m": 1024, "mi": 1024, "g": 1024 * 1024, "gi": 1024 * 1024}


@dataclass(frozen=True, slots=True)
class GuestCell:
    """One cell of the guest: its memory, the CPUs that float and those that are pinned."""

    id: int
    memory_mib: int
    shared: frozenset[int]
    dedicated: frozenset[int]


@dataclass(frozen=True, slots=True)
class NumaRequest:
    """What the guest asks for. `page_size` is in KiB, or small, large, any; None when it does not care."""

    cells: tuple[GuestCell, ...]
    page_size: int | str | None = None
    policy: str | None = None
    thread_policy: str | None = None
    isolate_emulator: bool = False

    @property
    def pins(self) -> bool:
        """Returns whether CPUs are pinned, all or some."""
        return self.policy in ("dedicated", "mixed")


Specs = Mapping[str, Any]


class _Asked:
    """The extra specs and image properties of one guest, read by key."""

    def __init__(self, vcpus: int, memory_mib: int, specs: Specs, properties: Specs) -> None:
        self.vcpus = vcpus
        self.memory_mib = memory_mib
        self.specs = specs
        self.properties = properties

    def both(self, key: str) -> tuple[str | None, str | None]:
        """Returns what the flavor and the image say about `hw:key` and `hw_key`."""
        flavor, image = self.specs.get(f"hw:{key}"), self.properties.get(f"hw_{key}")
        return (None if flavor is None else str(flavor), None if image is None else str(image))


def concerns_numa(specs: Specs, properties: Specs) -> bool:
    """Returns whether any spec or property asks for cells, pages or pinned CPUs. Cheap: most guests do not."""
    return any(key.startswith(("hw:", "resources:PCPU", "trait:HW_CPU_HYPER")) for key in specs) or any(
        key.startswith(("hw_numa", "hw_cpu_", "hw_mem_page")) for key in properties
    )


def numa_request(vcpus: int, memory_mib: int, specs: Specs, properties: Specs) -> NumaRequest | None:
    """Returns what the guest asks for, None when it asks for nothing.

    Raises ValueError with the mistake: an unknown word, a contradiction between flavor and image, cells that
    do not add up to the flavor.
    """
    if not concerns_numa(specs, properties):
        return None
    asked = _Asked(vcpus, memory_mib, specs, properties)
    policy = _policy(asked)
    thread_policy = _thread_policy(asked)
    dedicated = _dedicated(asked, policy)
    nodes = _nodes(asked)
    page_size = _page_size(asked)
    isolate = _emulator(asked)
    _check_numbered(asked, nodes or (1 if page_size or dedicated else 0))
    if policy in (None, "shared") and (thread_policy or isolate):
        raise ValueError("hw:cpu_thread_policy and hw:emulator_threads_policy=isolate need hw:cpu_policy=dedicated")
    if not nodes and not page_size and policy not in ("dedicated", "mixed"):
        return None
    cells = _cells(asked, nodes or 1, dedicated)
    return NumaRequest(cells, page_size, policy, thread_policy, isolate)


def dedicated_count(vcpus: int, specs: Specs, properties: Specs) -> int:
    """Returns how many of the guest's CPUs are pinned and so not booked as vCPUs; 0 where the specs do not hold."""
    if not concerns_numa(specs, properties):
        return 0
    asked = _Asked(vcpus, vcpus, specs, properties)
    try:
        return len(_dedicated(asked, _policy(asked)))
    except ValueError:
        return 0


def _policy(asked: _Asked) -> str | None:
    flavor, image = asked.both("cpu_policy")
    for value in (flavor, image):
        if value is not None and value not in POLICIES:
            raise ValueError(f"cpu_policy: found {value!r}, allowed: {', '.join(POLICIES)}")
    weaker = {"shared": ("mixed", "dedicated"), "mixed": ("dedicated",)}
    if flavor and image in weaker.get(flavor, ()):
        raise ValueError(f"the image's hw_cpu_policy {image} is more than the flavor's hw:cpu_policy {flavor} allows")
    pcpus = asked.specs.get("resources:PCPU")
    if pcpus is not None:
        if flavor or image:
            raise ValueError("resources:PCPU and cpu_policy say the same thing: use one of them")
        extra = 1 if asked.specs.get("hw:emulator_threads_policy") == "isolate" else 0
        if str(pcpus) != str(asked.vcpus + extra):
            raise ValueError(f"resources:PCPU: found {pcpus}, allowed: the flavor's CPUs, {asked.vcpus + extra}")
        return "dedicated"
    return flavor or image


def _thread_policy(asked: _Asked) -> str | None:
    flavor, image = asked.both("cpu_thread_policy")
    for value in (flavor, image):
        if value is not None and value not in THREAD_POLICIES:
            raise ValueError(f"cpu_thread_policy: found {value!r}, allowed: {', '.join(THREAD_POLICIES)}")
    if flavor not in (None, "prefer") and image and image != flavor:
        raise ValueError(f"the image's hw_cpu_thread_policy {image} contradicts the flavor's {flavor}")
    trait = asked.specs.get("trait:HW_CPU_HYPERTHREADING")
    policy = image if flavor is None else flavor
    if trait and policy:
        raise ValueError("trait:HW_CPU_HYPERTHREADING and cpu_thread_policy say the same thing: use one of them")
    return {"forbidden": "isolate", "required": "require"}.get(str(trait), policy)


def _dedicated(asked: _Asked, policy: str | None) -> frozenset[int]:
    everything = frozenset(range(asked.vcpus))
    mask = asked.specs.get("hw:cpu_dedicated_mask")
    realtime = _realtime(asked, policy)
    if policy != "mixed":
        if mask:
            raise ValueError("hw:cpu_dedicated_mask needs hw:cpu_policy=mixed")
        return everything if policy == "dedicated" else frozenset()
    if bool(mask) == bool(realtime):
        raise ValueError("hw:cpu_policy=mixed needs one of hw:cpu_dedicated_mask and hw:cpu_realtime_mask")
    dedicated = _masked(str(mask), asked.vcpus) if mask else realtime
    if not dedicated or not dedicated < everything:
        raise ValueError(f"hw:cpu_dedicated_mask must name some of the CPUs 0-{asked.vcpus - 1}, not all")
    return dedicated


def _realtime(asked: _Asked, policy: str | None) -> frozenset[int]:
    word = asked.specs.get("hw:cpu_realtime")
    if word is None and "hw:cpu_realtime_mask" in asked.specs:
        raise ValueError("hw:cpu_realtime_mask needs hw:cpu_realtime")
    if word is None or str(word).lower() in _NO:
        return frozenset()
    if str(word).lower() not in _YES:
        raise ValueError(f"hw:cpu_realtime: found {word!r}, allowed: yes, no")
    if policy in (None, "shared"):
        raise ValueError("hw:cpu_realtime needs hw:cpu_policy dedicated or mixed")
    flavor, image = asked.both("cpu_realtime_mask")
    everything = frozenset(range(asked.vcpus))
    chosen = _masked(image or flavor or "", asked.vcpus) if (image or flavor) else everything
    if not chosen or not chosen <= everything or (chosen == everything and not _emulator_word(asked)):
        raise ValueError("hw:cpu_realtime_mask must leave a CPU out, or hw:emulator_threads_policy must be set")
    return chosen


def _masked(text: str, vcpus: int) -> frozenset[int]:
    return parse_cpus(f"0-{vcpus - 1},{text}" if text.strip().startswith("^") else text)


def _emulator_word(asked: _Asked) -> str | None:
    word = asked.specs.get("hw:emulator_threads_policy")
    if word is not None and word not in ("isolate", "share"):
        raise ValueError(f"hw:emulator_threads_policy: found {word!r}, allowed: isolate, share")
    return word


def _emulator(asked: _Asked) -> bool:
    return _emulator_word(asked) == "isolate"


def _nodes(asked: _Asked) -> int | None:
    flavor, image = asked.both("numa_nodes")
    if flavor and image:
        raise ValueError("hw:numa_nodes is the flavor's: the image must not set hw_numa_nodes as well")
    text = flavor or image
    if text is None:
        return None
    if not text.isdecimal() or not 1 <= int(text) <= _MOST_CELLS:
        raise ValueError(f"numa_nodes: found {text!r}, allowed: a whole number from 1 to {_MOST_CELLS}")
    return int(text)


def _page_size(asked: _Asked) -> int | str | None:
    flavor, image = asked.both("mem_page_size")
    if image and not flavor:
        raise ValueError("hw_mem_page_size of the image needs the flavor's hw:mem_page_size, large or any")
    if not flavor:
        return None
    wanted = _size_of(flavor)
    if not image:
        return wanted
    if wanted not in ("large", "any"):
        raise ValueError(f"the image's hw_mem_page_size {image} contradicts the flavor's {flavor}")
    return _size_of(image)


def _size_of(text: str) -> int | str:
    if text in PAGE_WORDS:
        return text
    number = text.lower().removesuffix("b").rstrip("kmgi")
    unit = text.lower().removesuffix("b")[len(number) :]
    if number.isdecimal() and int(number) > 0 and (not unit or unit in _KIB):
        return int(number) * _KIB.get(unit, 1)
    raise ValueError(f"mem_page_size: found {text!r}, allowed: {', '.join(PAGE_WORDS)}, KiB, or such as 2MiB")


def _cells(asked: _Asked, nodes: int, dedicated: frozenset[int]) -> tuple[GuestCell, ...]:
    cpus, memory = _lists(asked)
    if cpus is None and memory is None:
        if asked.vcpus % nodes or asked.memory_mib % nodes:
            raise ValueError(f"{asked.vcpus} CPUs and {asked.memory_mib} MiB do not divide by {nodes} NUMA nodes")
        each = asked.vcpus // nodes
        cpus = [frozenset(range(node * each, (node + 1) * each)) for node in range(nodes)]
        memory = [asked.memory_mib // nodes] * nodes
    if cpus is None or memory is None or len(cpus) != nodes or len(memory) != nodes:
        raise ValueError(f"hw:numa_cpus.N and hw:numa_mem.N must both be given for each of the {nodes} NUMA nodes")
    counted = sorted(cpu for group in cpus for cpu in group)
    if counted != list(range(asked.vcpus)):
        raise ValueError(f"hw:numa_cpus.N must name each of the CPUs 0-{asked.vcpus - 1} once")
    if sum(memory) != asked.memory_mib:
        raise ValueError(f"hw:numa_mem.N add up to {sum(memory)} MiB, the flavor has {asked.memory_mib}")
    if not all(cpus) or not all(memory):
        raise ValueError("hw:numa_cpus.N and hw:numa_mem.N: each NUMA node needs CPUs and memory")
    return tuple(GuestCell(node, memory[node], cpus[node] - dedicated, cpus[node] & dedicated) for node in range(nodes))


def _check_numbered(asked: _Asked, nodes: int) -> None:
    """Raises ValueError for a list of a NUMA node that the guest does not have; nothing would read it."""
    for key in asked.specs:
        name, dot, number = key.partition(".")
        if not dot or name not in ("hw:numa_cpus", "hw:numa_mem"):
            continue
        if not nodes:
            raise ValueError("hw:numa_cpus.N and hw:numa_mem.N need hw:numa_nodes")
        if not number.isdecimal() or int(number) >= nodes:
            raise ValueError(f"{key}: there is no NUMA node {number}, hw:numa_nodes is {nodes}")


def _lists(asked: _Asked) -> tuple[list[frozenset[int]] | None, list[int] | None]:
    cpus, memory = [], []
    for node in range(_MOST_CELLS):
        text = asked.specs.get(f"hw:numa_cpus.{node}", asked.properties.get(f"hw_numa_cpus.{node}"))
        if text is None:
            break
        cpus.append(parse_cpus(str(text)))
    for node in range(_MOST_CELLS):
        text = asked.specs.get(f"hw:numa_mem.{node}", asked.properties.get(f"hw_numa_mem.{node}"))
        if text is None:
            break
        if not str(text).isdecimal():
            raise ValueError(f"hw:numa_mem.{node}: found {text!r}, allowed: MiB, a whole number")
        memory.append(int(text))
    return cpus or None, memory or None
