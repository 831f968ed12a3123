# A consumer of kafka-python. Arguments: address, topic, how many messages to read.
import sys
from kafka import KafkaConsumer, TopicPartition

addr, topic, want = sys.argv[1], sys.argv[2], int(sys.argv[3])
c = KafkaConsumer(topic, bootstrap_servers=addr, group_id="python", auto_offset_reset="earliest",
                  enable_auto_commit=False, consumer_timeout_ms=30000)
got = []
for m in c:
    got.append(m)
    if len(got) == want:
        break
c.commit()
p = TopicPartition(topic, 0)
assert c.committed(p) == want == c.end_offsets([p])[p], (c.committed(p), want)
c.close()
for m in got:
    print(m.key.decode() if m.key else "", m.value.decode() if m.value else "null", sep="\t")
