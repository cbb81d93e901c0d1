# SPDX-License-Identifier: GPL-3.0-or-later
# Turn a flattened network-config (version 2) into steps for the boot script: "DEVICE what argument...".
# Variable: macs = "eth0=52:54:... eth1=..." in the kernel's order. A device is found by its MAC, else by its name,
# else by its place in the file.

BEGIN {
    FS = "\t"
    count = split(macs, pairs, " ")
    for (n = 1; n <= count; n++) { split(pairs[n], pair, "="); by_mac[pair[2]] = pair[1]; by_name[pair[1]] = 1; nth[n] = pair[1] }
}

{ sub(/^network\./, "", $1) }
$1 !~ /^ethernets\./ { next }
{
    rest = substr($1, 11)
    id = rest; sub(/\..*/, "", id)
    key = substr(rest, length(id) + 2)
    if (!(id in place)) { place[id] = ++devices; order[devices] = id }
    if (key == "match.macaddress") mac[id] = tolower($2)
    else if (key == "dhcp4") dhcp[id] = tolower($2) ~ /^(true|yes|on)$/
    else if (key ~ /^addresses\.[0-9]+$/) addresses[id] = addresses[id] " " $2
    else if (key == "gateway4") routes[id] = routes[id] " default=" $2
    else if (key ~ /^routes\.[0-9]+\.to$/) to[id, number(key)] = $2 ~ /^(0\.0\.0\.0\/0|0\/0)$/ ? "default" : $2
    else if (key ~ /^routes\.[0-9]+\.via$/) { via[id, number(key)] = $2; hops[id] = hops[id] " " number(key) }
    else if (key ~ /^nameservers\.addresses\.[0-9]+$/) servers[id] = servers[id] " " $2
    else if (key ~ /^nameservers\.search\.[0-9]+$/) domains[id] = domains[id] " " $2
    else if (key == "mtu") mtu[id] = $2
}

END {
    for (n = 1; n <= devices; n++) {
        id = order[n]
        dev = (id in mac) ? by_mac[mac[id]] : (id in by_name) ? id : nth[n]
        if (dev != "") steps(dev, id)
    }
}

function number(key) { split(key, part, "."); return part[2] }

function steps(dev, id,   m, k, list, hop) {
    if (id in mtu) print dev, "mtu", mtu[id]
    if (dhcp[id]) print dev, "dhcp"
    m = split(addresses[id], list, " "); for (k = 1; k <= m; k++) print dev, "address", list[k]
    m = split(routes[id], list, " "); for (k = 1; k <= m; k++) { split(list[k], hop, "="); print dev, "route", hop[1], hop[2] }
    m = split(hops[id], list, " "); for (k = 1; k <= m; k++) print dev, "route", to[id, list[k]], via[id, list[k]]
    m = split(servers[id], list, " "); for (k = 1; k <= m; k++) print dev, "dns", list[k]
    if (id in domains) print dev, "search" domains[id]
}
