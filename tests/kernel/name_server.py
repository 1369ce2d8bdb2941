# A name server for tests: answers PTR queries from a JSON object {ADDRESS: NAME} on 127.0.0.1, no others.
# Without the object it reads queries and never answers.
import ipaddress, json, socket, struct, sys

names = {ipaddress.ip_address(address).reverse_pointer: name
         for address, name in json.loads(sys.argv[1]).items()} if len(sys.argv) > 1 else None
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
    name = names.get(".".join(labels).lower())
    header = query[:2] + struct.pack(">HHHHH", 0x8180 if name else 0x8183, 1, 1 if name else 0, 0, 0)
    answer = b""
    if name:
        # Labels are any bytes; U+0000 to U+00FF stand for them.
        data = b"".join(bytes([len(label)]) + label.encode("latin-1") for label in name.split(".")) + b"\0"
        answer = b"\xc0\x0c" + struct.pack(">HHIH", 12, 1, 60, len(data)) + data
    server.sendto(header + question + answer, client)
