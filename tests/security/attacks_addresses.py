"""URLs and addresses in every spelling that an attacker may choose, and what they come to."""

from __future__ import annotations

PUBLIC, PUBLIC6 = "93.184.216.34", "2606:2800:220:1::34"

NAMES: dict[str, list[str]] = {
    "public.test": [PUBLIC],
    "public6.test": [PUBLIC6],
    "xn--bcher-kva.test": [PUBLIC],
    "a_b.public.test": [PUBLIC],
    "localhost": ["127.0.0.1", "::1"],
    "localhost.localdomain": ["127.0.0.1"],
    "a.localhost": ["127.0.0.1"],
    "ip6-localhost": ["::1"],
    "metadata.google.internal": ["169.254.169.254"],
    "metadata": ["169.254.169.254"],
    "kubernetes.default.svc": ["10.96.0.1"],
    "10.0.0.1.nip.test": ["10.0.0.1"],
    "nothing.test": [],
}

OPEN_URLS = {
    "http://public.test/": (PUBLIC, 80),
    "https://public.test/": (PUBLIC, 443),
    "HTTP://PUBLIC.TEST": (PUBLIC, 80),
    "hTTpS://Public.Test:8443/a": (PUBLIC, 8443),
    "http://public.test./": (PUBLIC, 80),
    "http://public.test:00080/": (PUBLIC, 80),
    "http://public.test:1/": (PUBLIC, 1),
    "http://public.test:65535/": (PUBLIC, 65535),
    "http://a_b.public.test/": (PUBLIC, 80),
    "http://XN--BCHER-KVA.test/": (PUBLIC, 80),
    "http://public.test?@127.0.0.1/": (PUBLIC, 80),
    "http://public.test#@127.0.0.1/": (PUBLIC, 80),
    "http://public.test/@127.0.0.1/": (PUBLIC, 80),
    "http://public.test/?u=http://127.0.0.1/": (PUBLIC, 80),
    "http://public.test/%2f%00": (PUBLIC, 80),
    "http://public.test//127.0.0.1/": (PUBLIC, 80),
    "http://public6.test/": (PUBLIC6, 80),
    "http://[2606:2800:220:1::34]:81/": (PUBLIC6, 81),
    "http://[2606:2800:0220:0001:0000:0000:0000:0034]/": (PUBLIC6, 80),
    "http://[2606:2800:220:1::0.0.0.52]/": (PUBLIC6, 80),
    "http://[2606:2800:220:1::34]?": (PUBLIC6, 80),
    "http://93.184.216.34/": (PUBLIC, 80),
    "http://93.184.216.34./": (PUBLIC, 80),
    "http://1572395042/": (PUBLIC, 80),
    "http://0x5db8d822/": (PUBLIC, 80),
    "http://0X5DB8D822./": (PUBLIC, 80),
    "http://013556154042/": (PUBLIC, 80),
    "http://93.12113954/": (PUBLIC, 80),
    "http://93.184.55330/": (PUBLIC, 80),
    "http://0135.0xb8.216.042/": (PUBLIC, 80),
    "http://[::ffff:5db8:d822]/": ("::ffff:5db8:d822", 80),
    "http://[64:ff9b::93.184.216.34]/": ("64:ff9b::5db8:d822", 80),
    "http://[2002:5db8:d822::1]/": ("2002:5db8:d822::1", 80),
}

BLOCKED_URLS = {
    "loopback": "http://127.0.0.1/ http://127.1/ http://127.0.1/ http://0x7f.1/ http://0x7f.0.1/ "
    "http://0x7f000001/ http://0X7F000001/ http://2130706433/ http://017700000001/ "
    "http://00000000000017700000001/ http://0177.0.0.1/ http://0177.0x0.0.01/ http://127.0.0.1./ "
    "http://0x7f.1./ http://127.255.255.254/ http://127.65535/ http://[::1]/ http://[::1]:80/ "
    "http://[0:0:0:0:0:0:0:1]/ http://[0000:0000:0000:0000:0000:0000:0000:0001]/ "
    "http://[::0.0.0.1]/ http://[::ffff:127.0.0.1]/ http://[::FFFF:7F00:1]/ "
    "http://[0:0:0:0:0:ffff:127.0.0.1]/ http://[64:ff9b::127.0.0.1]/ http://[2002:7f00:1::]/ "
    "http://[::ffff:0:127.0.0.1]/ http://[::127.0.0.1]/ http://localhost/ http://LOCALHOST/ "
    "http://localhost./ http://localhost:6379/ http://localhost.localdomain/ http://a.localhost/ "
    "http://ip6-localhost/ https://localhost:443/",
    "unspecified": "http://0/ http://0./ http://00/ http://0x0/ http://0.0/ http://0.0.0.0/ "
    "http://0.0.0.0.:80/ http://0.1.2.3/ http://0x00000000/ http://[::]/ http://[0::0]/ "
    "http://[::ffff:0.0.0.0]/ http://[64:ff9b::]/",
    "cloud metadata": "http://169.254.169.254/ http://2852039166/ http://0xa9fea9fe/ "
    "http://0251.0376.0251.0376/ http://169.16689662/ http://169.254.43518/ http://169.254.170.2/ "
    "http://025177524776/ http://169.254.0xa9.0376/ http://[::ffff:169.254.169.254]/ "
    "http://[::ffff:a9fe:a9fe]/ http://[64:ff9b::a9fe:a9fe]/ http://[2002:a9fe:a9fe::]/ "
    "http://[fd00:ec2::254]/ http://[fd00:0ec2:0:0::0254]/ http://[fd20:ce::254]/ "
    "http://168.63.129.16/ http://2822734096/ http://100.100.100.200/ http://0x646464c8/ "
    "http://192.0.0.192/ http://metadata.google.internal/ http://Metadata.Google.Internal./ "
    "http://metadata/",
    "private (RFC 1918)": "http://10.0.0.1/ http://10.1/ http://167772161/ http://012.0.0.1/ "
    "http://0xa.0.0.1/ http://172.16.0.1/ http://172.31.65535/ http://192.168.1/ "
    "http://0300.0250.0.1/ http://[::ffff:192.168.0.1]/ http://kubernetes.default.svc/ "
    "http://10.0.0.1.nip.test/",
    "link-local": "http://169.254.1.1/ http://169.254.1/ http://[fe80::1]/ http://[febf::]/",
    "broadcast": "http://255.255.255.255/ http://4294967295/ http://0xffffffff/",
}

NOT_URLS = {  # separated by spaces; what must hold one stands below
    "scheme": "file:///etc/passwd ftp://public.test/ gopher://public.test:70/_ dict://public.test/ "
    "ws://public.test/ httpss://public.test/ data:,x javascript:0 jar:http://public.test!/ "
    "unix:///run/docker.sock unix:/run/docker.sock:/x http+unix://%2frun%2fdocker.sock/ "
    "http://unix:/run/docker.sock:/x :http://public.test/ url:http://public.test/ "
    "http\u017f://public.test/",
    "shape": "public.test public.test:80/x //public.test/ ://public.test/ /x . http//public.test/ "
    "http:public.test http:/public.test/ http:///public.test/ http:///run/docker.sock http:// "
    "http://? http://#public.test http:\\\\public.test\\ http:/\\public.test/ http:\\/public.test/ "
    "http://http://public.test/ http:////public.test/",
    "control character": "ht\ntp://public.test/ http://public\t.test/ http://pub\r\nlic.test/ "
    "http://public.test\x0b/ http://127.0.0.1\t.public.test/ http://\x00public.test/ "
    "http://public.test/\x7f http://public.test/\r\nHost:a \x00http://public.test/ "
    "http://public.test\x85/ http://public.test\u2028/ http://public.test/\x00",
    "user information": "http://a@public.test/ http://a:b@public.test/ http://@public.test/ "
    "http://:@public.test/ http://public.test@127.0.0.1/ http://127.0.0.1@public.test/ "
    "http://a@b@public.test/ http://public.test:80@127.0.0.1:80/ http://public.test\\@127.0.0.1/ "
    "http://[::1]@public.test/ http://public.test@[::1]/ http://public.test:@127.0.0.1/",
    "port": "http://public.test:/ http://public.test:0/ http://public.test:00000/ "
    "http://public.test:65536/ http://public.test:99999/ http://public.test:+80/ "
    "http://public.test:-1/ http://public.test:1e2/ http://public.test:0x50/ "
    "http://public.test:80:80/ http://public.test:000080/ http://public.test::80/ http://:80/ "
    "http://public.test:http/ http://public.test:\uff18\uff10/ http://public.test:\u0668\u0660/ "
    "http://[::1]:/",
    "number": "http://4294967296/ http://4294967297/ http://0x100000000/ http://256.0.0.1/ "
    "http://127.0.0.256/ http://1.2.65536/ http://127.0.0.1.1/ http://1.2.3.4.5/ http://08.8.8.8/ "
    "http://0x/ http://0x.0x.0x.0x/ http://127.0.0.0x/ http://127..1/ http://127.0.0.1../ "
    "http://.127.0.0.1/ http://public.test.1/ http://public.test.0x1/ http://-1/ "
    "http://127.0.0.+1/ http://127.-1/ http://a.0/ http://0x7f.0x0.0x0.0xg.1/",
    "percent-encoding": "http://%31%32%37.0.0.1/ http://127%2e0%2e0%2e1/ http://loc%61lhost/ "
    "http://public.test%40a/ http://127.0.0.1%23.public.test/ http://public.test%00.a/ "
    "http://127.0.0.1%2f.public.test/ http://public.test%0d%0a/ http://%/ http://%5b::1%5d/",
    "Unicode": "http://\uff11\uff12\uff17.0.0.1/ http://127\u30020\u30020\u30021/ "
    "http://127\uff0e0\uff0e0\uff0e1/ http://127\uff610\uff610\uff611/ "
    "http://\u2460\u2461\u2466.0.0.1/ http://\u0661\u0662\u0667.0.0.1/ "
    "http://\U0001d7cf\U0001d7d0\U0001d7d5.0.0.1/ http://127\u20240\u20240\u20241/ "
    "http://\u24dbocalhost/ http://\uff4cocalhost/ http://localho\u017ft/ http://lo\u0441alhost/ "
    "http://loca\xadlhost/ http://local\u200dhost/ http://local\u200bhost/ "
    "http://\u212aubernetes.default.svc/ http://public.test\u2044@127.0.0.1/ "
    "http://public.test\uff20127.0.0.1/ http://public.test\uff0f.a/ http://public.test\uff1a80/ "
    "http://public.test\uff1fa/ http://public.test\uff03a/ http\uff1a//public.test/ "
    "\uff48ttp://public.test/ http://b\xfccher.test/ http://\uff3b::1\uff3d/ "
    "http://public.test\u202e/",
    "name": "http://./ http://../ http://.public.test/ http://public..test/ http://public.test../ "
    "http://public.test.../ http://*/ http://*.test/ http://-public.test/ http://public-.test/ "
    "http://(public).test/ http://public,test/ http://a+b/ http://public.test;a/ "
    "http://public.test&a/ http://$/ http://~/ http://public.test'/ http://`id`/",
    "brackets": "http://[::1%25eth0]/ http://[::1%eth0]/ http://[fe80::1%251]/ http://[fe80::1%1]/ "
    "http://[fe80::1%]/ http://[v1.x]/ http://[v1.fe80::a]/ http://[127.0.0.1]/ "
    "http://[public.test]/ http://[]/ http://[:]/ http://[::1/ http://::1/ http://::1]/ "
    "http://[[::1]]/ http://[::1].public.test/ http://a[::1]/ http://[::1]80/ http://[::g]/ "
    "http://[1::2::3]/ http://[::ffff:127.1]/ http://[::ffff:0x7f.0.0.1]/ http://[:::1]/ "
    "http://[::ffff:127.0.0.1.]/ http://[00000::1]/ http://[::127.0.0.01]/ "
    "http://[1:2:3:4:5:6:7:8:9]/ http://[::ffff:127.0.0.1:80]/ http://[::\u0661]/",
}
OTHER_NOT_URLS = (
    "",
    "http://public.test /",
    "http:// public.test/",
    "http://public.test :80/",
    "http://public.test: 80/",
    "http://127.0.0.1 .public.test/",
    "http://public.test/a b",
    "http ://public.test/",
    f"http://{'a' * 64}.test/",
    f"http://{'a.' * 130}test/",
    f"http://public.test/{'a' * 20_000}",
)

CLOSED_ADDRESSES = {
    "loopback": "127.0.0.1 127.0.0.53 127.127.127.127 ::1",
    "unspecified": "0.0.0.0 0.0.0.1 0.255.0.1 ::",
    "private (RFC 1918)": "10.0.0.1 10.255.255.254 172.16.0.1 172.31.255.254 192.168.0.1",
    "private (unique local, RFC 4193)": "fc00::1 fcff::1 fd00::1 fd12:3456:789a::1 fdff::1",
    "private (carrier-grade NAT, RFC 6598)": "100.64.0.1 100.100.100.100 100.127.255.254",
    "private (benchmarking, RFC 2544)": "198.18.0.1 198.19.255.254",
    "link-local": "169.254.0.1 169.254.169.253 169.254.0.23 fe80::1 fe80::a9fe:a9fe febf::1 "
    "fe80::1%1",
    "cloud metadata": "169.254.169.254 169.254.170.2 169.254.170.23 168.63.129.16 100.100.100.200 "
    "192.0.0.192 fd00:ec2::254 fd00:ec2::23 fd00:ec2::123 fd00:ec2::253 fd20:ce::254 "
    "fd00:c1::a9fe:a9fe fd00:100::100:200 fd00:a9fe:a9fe::1 fd00:42::42 "
    "100.96.0.96 100.80.80.80 100.88.222.5 192.80.8.124",
    "broadcast": "255.255.255.255",
    "multicast": "224.0.0.1 224.0.0.251 232.1.1.1 239.255.255.250 ff01::1 ff02::1 ff02::fb ff05::2 "
    "ff0e::1 ff3e::1 ff02::1%1",
    "site-local": "fec0::1 feff::1",
    "for documentation": "192.0.2.1 198.51.100.7 203.0.113.255 2001:db8::1 2001:db8:ffff::1 "
    "3fff::1 3fff:fff:ffff::1",
    "local NAT64 (RFC 8215)": "64:ff9b:1::808:808 64:ff9b:1:808:8:800:: 64:ff9b:1:ffff::1",
    "reserved": "192.0.0.1 192.0.0.8 192.0.0.9 192.0.0.170 192.88.99.1 192.88.99.2 240.0.0.1 "
    "254.255.255.255 100::1 100:0:0:1::1 2001::1 2001:1::1 2001:2::1 2001:3::1 2001:4:112::1 "
    "2001:10::1 2001:20::1 2001:30::1 5f00::1 5f00:1::1 ::5db8:d822 ::ffff:0:5db8:d822 200::1 "
    "400::1 1000::1 4000::1 8000::1 c000::1 e000::1 f000::1 f800::1 fe00::1 "
    "2001:0:5db8:d822:0:0:a247:27dd",
}
INSIDE = {  # an address, and what it holds
    "::ffff:127.0.0.1": "127.0.0.1 loopback",
    "::ffff:10.0.0.1": "10.0.0.1 private (RFC 1918)",
    "::ffff:100.64.0.1": "100.64.0.1 private (carrier-grade NAT, RFC 6598)",
    "::ffff:168.63.129.16": "168.63.129.16 cloud metadata",
    "::ffff:255.255.255.255": "255.255.255.255 broadcast",
    "::ffff:7f00:1%1": "127.0.0.1 loopback",
    "::10.0.0.1": "10.0.0.1 private (RFC 1918)",
    "::169.254.169.254": "169.254.169.254 cloud metadata",
    "::ffff:0:127.0.0.1": "127.0.0.1 loopback",
    "::ffff:0:192.168.0.1": "192.168.0.1 private (RFC 1918)",
    "64:ff9b::10.1.2.3": "10.1.2.3 private (RFC 1918)",
    "64:ff9b::169.254.169.254": "169.254.169.254 cloud metadata",
    "64:ff9b::224.0.0.1": "224.0.0.1 multicast",
    "64:ff9b:1::192.168.0.1": "192.168.0.1 private (RFC 1918)",
    "2002:a00:1::1": "10.0.0.1 private (RFC 1918)",
    "2002:c0a8:1:1::1": "192.168.0.1 private (RFC 1918)",
    "2002:a9fe:a9fe::a9fe:a9fe": "169.254.169.254 cloud metadata",
    "2002:7f00:1::": "127.0.0.1 loopback",
    "2002:c058:6301::": "192.88.99.1 reserved",
    "2002:e000:1::1": "224.0.0.1 multicast",
    "2001:0:a00:1::a247:27dd": "10.0.0.1 private (RFC 1918)",  # Teredo's server
    "2001:0:5db8:d822::f5ff:fffe": "10.0.0.1 private (RFC 1918)",  # Teredo's client
    "2001:0:5db8:d822:8000:63bf:5601:5601": "169.254.169.254 cloud metadata",
    "2606:4700::5efe:10.0.0.1": "10.0.0.1 private (RFC 1918)",  # ISATAP
    "2606:4700::200:5efe:127.0.0.1": "127.0.0.1 loopback",
    "2606:4700::300:5efe:169.254.169.254": "169.254.169.254 cloud metadata",
}
OPEN_ADDRESSES = (
    "1.1.1.1 8.8.8.8 9.9.9.9 93.184.216.34 100.63.255.254 100.128.0.1 168.63.129.15 168.63.129.17 "
    "172.32.0.1 192.0.1.1 192.31.196.1 192.52.193.1 192.175.48.1 192.169.0.1 198.20.0.1 "
    "223.255.255.254 2000::1 2001:200::1 2001:4860:4860::8888 2606:4700:4700::1111 2620:4f:8000::1 "
    "2a00:1450::1 ::ffff:8.8.8.8 64:ff9b::8.8.8.8 2002:808:808::1 2606:4700::5efe:8.8.8.8"
)  # AS112 and AMT (192.31.196.0/24, 192.175.48.0/24, 192.52.193.0/24, 2620:4f:8000::/48) are public

# The registries of special-purpose addresses (RFC 6890) and of multicast, as of 2025: the networks
# that are not globally reachable, or for which that has no answer.
NOT_REACHABLE = (
    "0.0.0.0/8 10.0.0.0/8 100.64.0.0/10 127.0.0.0/8 169.254.0.0/16 172.16.0.0/12 192.0.0.0/29 "
    "192.0.0.8/32 192.0.0.170/32 192.0.0.171/32 192.0.2.0/24 192.88.99.0/24 192.88.99.2/32 "
    "192.168.0.0/16 198.18.0.0/15 198.51.100.0/24 203.0.113.0/24 224.0.0.0/4 240.0.0.0/4 "
    "255.255.255.255/32 ::1/128 ::/128 64:ff9b:1::/48 100::/64 100:0:0:1::/64 2001::/32 "
    "2001:2::/48 2001:10::/28 2001:db8::/32 3fff::/20 5f00::/16 fc00::/7 fe80::/10 fec0::/10 "
    "ff00::/8"
)
# Globally reachable by the registries, and closed all the same: what is there takes no webhook.
STRICTER = {
    "192.0.0.9/32": "Port Control Protocol, anycast",
    "192.0.0.10/32": "TURN, anycast",
    "2001:1::1/128": "Port Control Protocol, anycast",
    "2001:1::2/128": "TURN, anycast",
    "2001:1::3/128": "DNS-SD service registration, anycast",
    "2001:3::/32": "AMT",
    "2001:4:112::/48": "AS112",
    "2001:20::/28": "ORCHIDv2: not addresses of the network layer",
    "2001:30::/28": "identities of drones",
}
