#!/usr/bin/env python3
"""Writes orders as JSON lines (the rig's record, 107 bytes) to stdout: orders_file.py COUNT CUSTOMERS."""
import random
import sys

count, customers = int(sys.argv[1]), int(sys.argv[2])
draw = random.Random(1).random
write = sys.stdout.write
for i in range(count):
    write(
        f'{{"order_id":"o{i:010d}","customer_id":"c{int(draw() * customers):06d}","amount":{int(draw() * 10000)},'
        f'"event_time":{1700000000000 + i},"status":"paid"}}\n'
    )
