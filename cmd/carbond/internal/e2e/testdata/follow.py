# Follows topics on librdkafka from the beginning, over restarts of the broker, and
# prints each message as a JSON array: topic, offset, offset of the changelog, LSN,
# transaction, key, value. Arguments: address, topics.
import json, sys
from confluent_kafka import Consumer, KafkaError, TopicPartition

addr, topics = sys.argv[1], sys.argv[2:]
c = Consumer({
    "bootstrap.servers": addr, "group.id": "follow", "enable.auto.commit": False, "auto.offset.reset": "error",
    "reconnect.backoff.max.ms": 200, "fetch.wait.max.ms": 200, "log_level": 0,
})
c.assign([TopicPartition(t, 0, 0) for t in topics])
while True:
    m = c.poll(1)
    if m is None:
        continue
    if m.error():
        # The broker is away now and then; what it says of a topic is final.
        if m.error().code() in (KafkaError._ALL_BROKERS_DOWN, KafkaError._TRANSPORT, KafkaError._RESOLVE):
            continue
        sys.exit(m.error().str())
    h = {k: v.decode() for k, v in m.headers()}
    text = [None if b is None else b.decode() for b in (m.key(), m.value())]
    print(json.dumps([m.topic(), m.offset(), h["offset"], h["lsn"], h["txid"], *text]), flush=True)
