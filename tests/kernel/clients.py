# Clients that a server has to bear: the first reads a page a byte at a time, the others connect and say nothing.
# Says "slow" once the first has asked, and after a line of input "crowd" once the others are there.
import socket, sys, time, threading

ADDRESS = ("127.0.0.1", 10659)
slow = socket.socket()
slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
slow.connect(ADDRESS)
slow.sendall(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n")

def read():
    while slow.recv(1):
        time.sleep(0.05)

threading.Thread(target=read, daemon=True).start()
print("slow", flush=True)
sys.stdin.readline()
crowd = [socket.create_connection(ADDRESS) for _ in range(300)]
print("crowd", flush=True)
sys.stdin.readline()
