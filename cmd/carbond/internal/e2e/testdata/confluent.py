# A consumer on librdkafka: lists, reads a group from the beginning with a restart in
# between, looks for a time, and is refused as a producer. Arguments: address, topic.
import sys, time
from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient

addr, topic = sys.argv[1:]
base = {"bootstrap.servers": addr, "auto.offset.reset": "earliest", "enable.auto.commit": False}
assert topic in AdminClient({"bootstrap.servers": addr}).list_topics(timeout=20).topics


def read(group, limit):
    c = Consumer({**base, "group.id": group})
    c.subscribe([topic])
    out, until = [], time.time() + 60
    low, high = c.get_watermark_offsets(TopicPartition(topic, 0), timeout=20)
    while len(out) < limit and time.time() < until:
        m = c.poll(1)
        if m is None:
            continue
        assert not m.error(), m.error()
        out.append((m.offset(), m.key(), m.value()))
        assert dict(m.headers()).keys() == {"offset", "lsn", "txid"}, m.headers()
    c.commit(asynchronous=False)
    c.close()
    return out, high


first, high = read("desk", 2)
rest, _ = read("desk", high - 2)
got = first + rest
assert [o for o, _, _ in got] == list(range(high)), [o for o, _, _ in got]
c = Consumer({**base, "group.id": "desk"})
assert c.committed([TopicPartition(topic, 0)], timeout=20)[0].offset == high
assert c.offsets_for_times([TopicPartition(topic, 0, 1)], timeout=20)[0].offset == 0
c.close()
refused = []
p = Producer({"bootstrap.servers": addr, "message.timeout.ms": 20000})
p.produce(topic, b"x", callback=lambda err, _: refused.append(err))
p.flush(30)
assert refused and refused[0] is not None and refused[0].name() == "TOPIC_AUTHORIZATION_FAILED", refused
for _, key, value in got:
    print(key.decode() if key else "", value.decode() if value else "null", sep="\t")
