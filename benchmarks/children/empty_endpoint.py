"""What no serving application can be faster than: `python empty_endpoint.py PORT`.

The same server with an application that reads the body and answers a fixed one. On the path
/redis it asks the Redis of REDIS_URL for a key first, as `RedisStore` does.
"""

import os
import sys
from typing import Any

import uvicorn
from redis.asyncio import Redis

BODY = b'{"predictions":["Adelie"]}'
HEADERS = [(b"content-type", b"application/json"), (b"content-length", str(len(BODY)).encode())]
redis = Redis.from_url(os.environ.get("REDIS_URL", "redis://"))


async def application(scope: Any, receive: Any, send: Any) -> None:
    """Answer any request."""
    if scope["type"] == "lifespan":
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await send({"type": "lifespan.shutdown.complete"})
        return
    while (await receive()).get("more_body"):
        pass
    if scope["path"] == "/redis":
        await redis.mget([b"p:0123456789abcdef"])
    await send({"type": "http.response.start", "status": 200, "headers": HEADERS})
    await send({"type": "http.response.body", "body": BODY})


uvicorn.run(application, port=int(sys.argv[1]), log_level="warning", access_log=False)
