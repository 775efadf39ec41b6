import asyncio, pytest, time
from tests.session_bench import *
pytestmark = pytest.mark.looptime(resolution=1e-9, noop_cycles=2)
async def test_x():
    t0=time.monotonic()
    print(type(asyncio.get_running_loop()))
    async with bench("The moon goes around the earth.") as client:
        print('ready', time.monotonic()-t0, asyncio.get_running_loop().time())
        await client.turn()
        await client.until(ev.ReplyDone)
        for at,e in zip(client.times, client.events):
            if not isinstance(e, ev.ReplyAudio): print('%.3f'%at, str(e)[:150])
    print(time.monotonic()-t0)
