# SPDX-License-Identifier: GPL-3.0-or-later
# Turn a YAML or JSON document into lines "path<TAB>value", such as "ethernets.n0.addresses.0<TAB>10.0.0.5/24".
# For the boot script of the tiny test guest. Understands what seeds use: block mappings and sequences, flow
# collections, JSON, plain and quoted scalars (folded over lines too), and | and > blocks. No anchors, tags or
# several documents. A line break inside a value becomes \n and a backslash \\, which printf %b undoes.

{ sub(/\r$/, ""); line[++last] = $0 }

END {
    for (i = 1; i <= last && is_blank(line[i]); i++) continue
    if (i > last) exit
    if (line[i] ~ /^[{[]/) {
        for (; i <= last; i++) text = text line[i] "\n"
        at = 1
        flow("")
    } else block(depth(line[i]), "")
}

function emit(path, value) { gsub(/\\/, "\\\\", value); gsub(/\n/, "\\n", value); print path "\t" value }
function join(path, key) { return path == "" ? key : path "." key }
function is_blank(s) { return s ~ /^[ \t]*(#|---|$)/ }
function depth(s) { match(s, /^ */); return RLENGTH }
function next_line() { while (i <= last && is_blank(line[i])) i++; return i <= last }

# --- block style: line[i] is the next line to read ---------------------------------------------------------------
function block(indent, path,   n, rest) {
    n = 0
    while (next_line() && depth(line[i]) == indent) {
        rest = substr(line[i], indent + 1)
        if (rest ~ /^-( |$)/) item(indent, join(path, n++), rest)
        else if (n > 0) return
        else entry(indent, path, rest)
    }
}

function item(indent, path, rest,   inner) {
    if (rest ~ /^- *$/) {
        i++
        if (next_line() && depth(line[i]) > indent) block(depth(line[i]), path)
        return
    }
    match(rest, /^- +/)
    inner = indent + RLENGTH
    rest = substr(rest, RLENGTH + 1)
    if (rest ~ /^- / || key_length(rest)) {
        line[i] = sprintf("%" inner "s", "") rest
        block(inner, path)
    } else value(indent, path, rest)
}

function entry(indent, path, rest,   n, key) {
    n = key_length(rest)
    if (!n) { i++; return }
    key = substr(rest, 1, n)
    rest = substr(rest, n + 1)
    sub(/^ *: */, "", rest)
    if (key ~ /^["']/) key = unquote(key)
    path = join(path, key)
    if (rest != "" && rest !~ /^#/) { value(indent, path, rest); return }
    i++
    if (!next_line()) return
    n = depth(line[i])
    # A sequence may stand at its key's own indent.
    if (n > indent || (n == indent && substr(line[i], n + 1) ~ /^-( |$)/)) block(n, path)
}

# Length of "key" at the start of a "key: value" line, or 0 if the line is none.
function key_length(s) {
    if (match(s, /^"[^"]*" *:( |$)/) || match(s, /^'[^']*' *:( |$)/)) { match(s, /^("[^"]*"|'[^']*')/); return RLENGTH }
    if (s ~ /^["'{[|>]/) return 0
    return match(s, /: |:$/) ? RSTART - 1 : 0
}

function value(indent, path, rest) {
    if (rest ~ /^[|>]/) { literal(indent, path, rest); return }
    i++
    if (rest ~ /^["']/) {
        for (; !quote_end(rest) && i <= last; i++) rest = folded(rest, substr(line[i], depth(line[i]) + 1))
        emit(path, unquote(substr(rest, 1, quote_end(rest))))
    } else if (rest ~ /^[{[]/) {
        for (text = rest "\n"; i <= last && (depth(line[i]) > indent || line[i] ~ /^ *[]}]/); i++) text = text line[i] "\n"
        at = 1
        flow(path)
    } else {
        sub(/ +#.*/, "", rest)
        while (i <= last && !is_blank(line[i]) && depth(line[i]) > indent) { rest = rest " " substr(line[i], depth(line[i]) + 1); i++ }
        sub(/ +$/, "", rest)
        emit(path, rest)
    }
}

# A quoted scalar goes on: one line break is a space, an empty line a line break, and \ before it joins.
function folded(rest, more) {
    if (rest ~ /^"/ && rest ~ /(^|[^\\])(\\\\)*\\$/) return substr(rest, 1, length(rest) - 1) more
    sub(/ +$/, "", rest)
    if (more == "") return rest "\n"
    return rest (rest ~ /\n$/ ? "" : " ") more
}

function literal(indent, path, style,   inner, s) {
    inner = -1
    for (i++; i <= last && (line[i] ~ /^ *$/ || depth(line[i]) > indent); i++) {
        if (inner < 0 && line[i] !~ /^ *$/) inner = depth(line[i])
        s = s substr(line[i], inner + 1) (style ~ /^>/ && line[i] !~ /^ *$/ ? " " : "\n")
    }
    sub(/[ \n]+$/, "", s)
    emit(path, style ~ /-/ ? s : s "\n")
}

# --- flow style and JSON: text from position at --------------------------------------------------------------------
function skip() { while (substr(text, at, 1) ~ /^[ \t\n,]$/) at++ }

function flow(path,   c, n, key) {
    skip()
    c = substr(text, at, 1)
    if (c == "[") {
        for (at++; ; n++) { skip(); c = substr(text, at, 1); if (c == "]" || c == "") { at++; return } flow(join(path, n + 0)) }
    } else if (c == "{") {
        for (at++; ; ) {
            skip(); c = substr(text, at, 1)
            if (c == "}" || c == "") { at++; return }
            key = scalar(":")
            skip()
            if (substr(text, at, 1) == ":") at++
            flow(join(path, key))
        }
    } else emit(path, scalar(""))
}

# One quoted or plain scalar; `stop` is one more character that ends a plain one.
function scalar(stop,   rest, n) {
    rest = substr(text, at)
    if (rest ~ /^["']/) {
        n = quote_end(rest)
        if (!n) n = length(rest)
        at += n
        return unquote(substr(rest, 1, n))
    }
    for (n = 1; n <= length(rest); n++) {
        c = substr(rest, n, 1)
        if (index(",]}\n", c) || (stop == ":" && c == ":")) break
    }
    at += n - 1
    rest = substr(rest, 1, n - 1)
    sub(/ +$/, "", rest)
    if (n == 1) at++
    return rest
}

# --- quotes -----------------------------------------------------------------------------------------------------------
function quote_end(s) {
    if (s ~ /^"/) return match(s, /^"([^"\\]|\\.)*"/) ? RLENGTH : 0
    # A quote that another one follows is a pair that a line break cut off.
    return match(s, /^'([^']|'')*'/) && substr(s, RLENGTH + 1, 1) != "'" ? RLENGTH : 0
}

function unquote(s,   q, out, c, n) {
    q = substr(s, 1, 1)
    s = substr(s, 2, length(s) - 2)
    if (q == "'") { gsub(/''/, "'", s); return s }
    while ((n = index(s, "\\")) > 0) {
        c = substr(s, n + 1, 1)
        out = out substr(s, 1, n - 1)
        s = substr(s, n + 2)
        if (c == "n") out = out "\n"
        else if (c == "t") out = out "\t"
        else if (c == "u") { out = out sprintf("%c", hex(substr(s, 1, 4))); s = substr(s, 5) }
        else out = out c
    }
    return out s
}

function hex(s,   n, k) { for (k = 1; k <= length(s); k++) n = n * 16 + index("0123456789abcdef", tolower(substr(s, k, 1))) - 1; return n }
