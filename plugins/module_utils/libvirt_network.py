# SPDX-License-Identifier: GPL-3.0-or-later
"""libvirt networks of kind nat and routed: their XML, and what of it matters when two are compared."""

from __future__ import annotations

import ipaddress
import re
from typing import Any, Dict, List, Optional
from xml.etree import ElementTree

from ansible_collections.berth.kvm.plugins.module_utils.libvirt_object import NAMESPACE

# libvirt's words for our kinds ("Network XML format", connectivity).
FORWARD = {"nat": "nat", "routed": "route"}
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}\Z")
INTERFACE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,14}\Z")
# The names libvirt gives to bridges that nobody named.
FILLED_IN = re.compile(r"virbr[0-9]+\Z")
# dnsmasq's options in a network are in a namespace of libvirt's ("Network XML format", dnsmasq; since 5.6.0).
DNSMASQ = "http://libvirt.org/schemas/network/dnsmasq/1.0"
DNS_OPTION = "dhcp-option=option:dns-server,"

ElementTree.register_namespace("dnsmasq", DNSMASQ)
ElementTree.register_namespace("berth", NAMESPACE.format(kind="network"))


class NetworkKind:
    """The libvirt calls of networks, for libvirt_object.ensure."""

    name = "network"

    def __init__(self, libvirt: Any, connection: Any) -> None:
        self._libvirt = libvirt
        self._connection = connection

    def find(self, name: str) -> Optional[Any]:
        try:
            return self._connection.networkLookupByName(name)
        except self._libvirt.libvirtError as error:
            if error.get_error_code() == self._libvirt.VIR_ERR_NO_NETWORK:
                return None
            raise

    def define(self, xml: str) -> Any:
        return self._connection.networkDefineXML(xml)

    def start(self, handle: Any) -> None:
        handle.create()

    def stored_xml(self, handle: Any) -> str:
        flags = self._libvirt.VIR_NETWORK_XML_INACTIVE if handle.isPersistent() else 0
        return str(handle.XMLDesc(flags))

    def keep_identity(self, xml: str, handle: Any) -> str:
        """Returns the XML with the UUID, MAC and bridge the network has: libvirt refuses another UUID for a name."""
        root = ElementTree.fromstring(xml)  # noqa: S314 - our own XML
        stored = ElementTree.fromstring(self.stored_xml(handle))  # noqa: S314 - libvirt's own XML
        root.insert(1, _element("uuid", text=handle.UUIDString()))
        mac = stored.find("mac")
        if mac is not None:
            root.append(mac)
        bridge, had = root.find("bridge"), stored.find("bridge")
        if (
            bridge is not None
            and "name" not in bridge.attrib
            and had is not None
            and FILLED_IN.match(had.get("name", ""))
        ):
            bridge.set("name", had.get("name", ""))
        return ElementTree.tostring(root, encoding="unicode")

    def users(self, handle: Any) -> int:
        """Returns how many interfaces of running guests are plugged into the network."""
        return int(ElementTree.fromstring(handle.XMLDesc(0)).get("connections", "0"))  # noqa: S314

    def shape(self, xml: str) -> Dict[str, Any]:
        return shape(xml)


def problems(network: Dict[str, Any]) -> List[str]:
    """Returns every mistake in one network's parameters."""
    found = []
    if not NAME.match(network["name"]):
        found.append("name: letters, digits, dot, dash and underscore, at most 63")
    if network.get("bridge") and not INTERFACE.match(network["bridge"]):
        found.append(f"bridge {network['bridge']!r}: 1 to 15 letters, digits, dots, dashes or underscores")
    elif FILLED_IN.match(network.get("bridge") or ""):
        found.append(f"bridge {network['bridge']!r}: libvirt gives these names itself; choose another")
    try:
        cidr = ipaddress.ip_network(network["cidr"])
    except ValueError as error:
        return [*found, f"cidr: {error}"]
    dhcp = network.get("dhcp") or {}
    addresses = [("gateway", network["gateway"]), *((f"dhcp.{end}", text) for end, text in dhcp.items())]
    found += [
        f"{where} {text!r}: an address inside {cidr}, neither its first nor its last"
        for where, text in addresses
        if not _inside(text, cidr)
    ]
    found += [f"dns {text!r}: an IP address" for text in network.get("dns") or [] if not _is_address(text)]
    if dhcp and not found:
        first, gateway, last = (
            int(ipaddress.ip_address(text)) for text in (dhcp["first"], network["gateway"], dhcp["last"])
        )
        if first > last:
            found.append(f"dhcp: first {dhcp['first']} is above last {dhcp['last']}")
        if first <= gateway <= last:
            found.append(f"dhcp: the range holds the gateway {network['gateway']}")
    return found


def render(network: Dict[str, Any]) -> str:
    """Returns the network's XML. Elements are built as a tree, so no value can break out of its place."""
    cidr = ipaddress.ip_network(network["cidr"])
    dns = network.get("dns") or []
    root = ElementTree.Element("network")
    root.append(_element("name", text=network["name"]))
    metadata = ElementTree.SubElement(root, "metadata")
    metadata.append(_element("{%s}network" % NAMESPACE.format(kind="network")))
    forward = ElementTree.SubElement(root, "forward", mode=FORWARD[network["kind"]])
    if network["kind"] == "nat" and cidr.version == 6:
        forward.append(_element("nat", ipv6="yes"))
    root.append(_element("bridge", stp="on", delay="0", **_given(name=network.get("bridge"))))
    if network.get("mtu"):
        root.append(_element("mtu", size=str(network["mtu"])))
    # Without our own server among the guests' there is nobody to answer; an open resolver nobody asked for is not left.
    root.append(_element("dns", enable="yes" if network["gateway"] in dns else "no"))
    family = {"family": "ipv6"} if cidr.version == 6 else {}
    ip = ElementTree.SubElement(root, "ip", address=network["gateway"], prefix=str(cidr.prefixlen), **family)
    if network.get("dhcp"):
        dhcp = ElementTree.SubElement(ip, "dhcp")
        dhcp.append(_element("range", start=network["dhcp"]["first"], end=network["dhcp"]["last"]))
        if dns and dns != [network["gateway"]] and cidr.version == 4:
            options = ElementTree.SubElement(root, "{%s}options" % DNSMASQ)
            options.append(_element("{%s}option" % DNSMASQ, value=DNS_OPTION + ",".join(dns)))
    return ElementTree.tostring(root, encoding="unicode")


def shape(xml: str) -> Dict[str, Any]:
    """Returns what two networks are compared by: everything that Berth writes, in one form.

    Left out is what libvirt fills in: UUID, MAC, the name of a bridge that nobody named, port ranges of NAT, counters.
    """
    root = ElementTree.fromstring(xml)  # noqa: S314 - libvirt's XML or our own
    forward, bridge, dns, mtu = (root.find(tag) for tag in ("forward", "bridge", "dns", "mtu"))
    options = root.findall("{%s}options/{%s}option" % (DNSMASQ, DNSMASQ))
    name = "" if bridge is None else bridge.get("name", "")
    return {
        "forward": "isolated" if forward is None else forward.get("mode", "nat"),
        "forward_device": "" if forward is None else forward.get("dev", ""),
        "nat_ipv6": forward is not None and any(each.get("ipv6") == "yes" for each in forward.findall("nat")),
        "bridge": "" if FILLED_IN.match(name) else name,
        "mtu": "" if mtu is None else mtu.get("size", ""),
        "dns": dns is None or dns.get("enable", "yes") == "yes",
        "dns_entries": sorted(_canonical(each) for each in (dns if dns is not None else [])),
        "addresses": sorted(_address(each) for each in root.findall("ip")),
        "routes": sorted(_canonical(each) for each in root.findall("route")),
        "dnsmasq": sorted(option.get("value", "") for option in options),
    }


def _address(ip: ElementTree.Element) -> str:
    address = ip.get("address", "")
    prefix = ip.get("prefix") or ip.get("netmask") or ("128" if ":" in address else "32")
    text = str(ipaddress.ip_interface(f"{address}/{prefix}"))
    dhcp = ip.find("dhcp")
    if dhcp is not None:
        text += "".join(f" dhcp {each.get('start')}-{each.get('end')}" for each in dhcp.findall("range"))
        text += "".join(sorted(" " + _canonical(each) for each in dhcp if each.tag != "range"))
    return text


def _canonical(element: ElementTree.Element) -> str:
    inner = "".join(_canonical(child) for child in element) or (element.text or "").strip()
    attributes = "".join(f" {key}={value}" for key, value in sorted(element.attrib.items()))
    return f"<{element.tag}{attributes}>{inner}"


def _element(tag: str, text: Optional[str] = None, **attributes: str) -> ElementTree.Element:
    element = ElementTree.Element(tag, attributes)
    element.text = text
    return element


def _given(**values: Optional[str]) -> Dict[str, str]:
    return {key: value for key, value in values.items() if value}


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def _inside(text: str, cidr: Any) -> bool:
    if not _is_address(text):
        return False
    address = ipaddress.ip_address(text)
    return address in cidr and address not in (cidr.network_address, cidr.broadcast_address)
