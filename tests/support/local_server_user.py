"""A process that uses the local model and says where its server is: `python local_server_user.py HOW`."""

import sys
import threading
import time

from ragloom.components.local_server import local_llm

llm = local_llm(defaults={"max_tokens": 1, "temperature": 0.0})
thread = threading.Thread(target=llm, args=([{"role": "user", "content": "The capital of France is"}],))
thread.start()  # a thread that is gone when the server is looked for
thread.join()
sys.stdout.write(f"{llm.server.url()} {llm.server.pid}\n")
sys.stdout.flush()
if sys.argv[1] == "stay":
    time.sleep(600)
if sys.argv[1] == "fail":
    raise SystemExit(3)
