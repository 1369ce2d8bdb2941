# A name server for tests: answers queries from a JSON object {ADDRESS: NAME} on 127.0.0.1, no others: PTR by address, A and AAAA by name.
# Without the object it reads queries and never answers.
import ipaddress, json, socket, struct, sys

names = json.loads(sys.argv[1]) if len(sys.argv) > 1 else None
pointers, addresses = {}, {}
for text, name in (names or {}).items():
    address = ipaddress.ip_address(text)
    # Labels are any bytes; U+0000 to U+00FF stand for them.
    data = b"".join(bytes([len(label)]) + label.encode("latin-1") for label in name.split(".")) + b"\0"
    pointers[address.reverse_pointer] = data
    addresses.setdefault(name.lower(), []).append((1 if address.version == 4 else 28, address.packed))
server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
server.bind(("127.0.0.1", 53))
print("listening", flush=True)
while True:
    query, client = server.recvfrom(4096)
    if names is None:
        continue
    labels, place = [], 12
    while query[place]:
        labels.append(query[place + 1:place + 1 + query[place]].decode())
        place += 1 + query[place]
    question = query[12:place + 5]
    name, (kind,) = ".".join(labels).lower(), struct.unpack(">H", query[place + 1:place + 3])
    known = [(12, pointers[name])] if name in pointers else addresses.get(name, [])
    records = [record for record in known if record[0] == kind]
    answer = b"".join(b"\xc0\x0c" + struct.pack(">HHIH", kind, 1, 60, len(data)) + data for _, data in records)
    # A name that has none of this kind is no name that does not exist.
    header = query[:2] + struct.pack(">HHHHH", 0x8180 if known else 0x8183, 1, len(records), 0, 0)
    server.sendto(header + question + answer, client)
