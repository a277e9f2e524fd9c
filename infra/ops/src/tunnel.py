# TLS for a client that has none: a listener on this machine for each target, whose connections go on to it encrypted, until
# standard input ends. The targets are one JSON list there, the listeners' ports one as the answer.
import asyncio
import json
import os
import signal
import ssl
import sys


def trust():
    context = ssl.create_default_context(cafile=os.environ.get("AWS_CA_BUNDLE") or None)
    # Python's own list is empty on some systems.
    import certifi

    context.load_verify_locations(certifi.where())
    return context


async def copy(reader, writer):
    try:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    except (OSError, ssl.SSLError):
        pass
    finally:
        writer.close()


async def refuse(writer, reason):
    body = f"the connection failed: {reason}".encode()
    head = f"HTTP/1.1 502 Bad Gateway\r\ncontent-length: {len(body)}\r\nconnection: close\r\n\r\n"
    writer.write(head.encode() + body)
    await writer.drain()
    writer.close()


async def until_input_ends():
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    os._exit(0)


def to(host, port, context):
    async def serve(reader, writer):
        try:
            opening = asyncio.open_connection(host, port, ssl=context, server_hostname=host)
            there = await asyncio.wait_for(opening, 10)
        except (OSError, ssl.SSLError, asyncio.TimeoutError) as error:
            # An answer needs a question: the client's first bytes.
            await reader.read(65536)
            return await refuse(writer, error if str(error) else "no answer within 10 s")
        await asyncio.gather(copy(reader, there[1]), copy(there[0], writer))

    return serve


async def main():
    # A Ctrl-C is for the program that started this, which closes standard input when it ends.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    context = trust()
    targets = json.loads(sys.stdin.readline())
    servers = [await asyncio.start_server(to(*target, context), "127.0.0.1", 0) for target in targets]
    print(json.dumps([server.sockets[0].getsockname()[1] for server in servers]), flush=True)
    await until_input_ends()


if __name__ == "__main__":
    asyncio.run(main())
