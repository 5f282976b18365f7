"""Sends 1000 messages of growing size through the proxy at argv[1] and checks their echoes."""
import asyncio
import ssl
import sys

import websockets


async def main(url, certificate):
    context = None
    if url.startswith("wss:"):
        context = ssl.create_default_context(cafile=certificate)
    async with websockets.connect(
        url, ssl=context, subprotocols=["chat", "other"], max_size=2**22, compression=None
    ) as socket:
        async def send():
            for number in range(1000):
                await socket.send(f"{number} " + "x" * (number * number // 10))

        sending = asyncio.ensure_future(send())
        for number in range(1000):
            reply = await socket.recv()
            expected = f"app: {number} " + "x" * (number * number // 10)
            assert reply == expected, (number, len(reply))
        await sending
        print(f"1000 messages, subprotocol {socket.subprotocol}")


asyncio.run(asyncio.wait_for(main(*sys.argv[1:3]), 14))
