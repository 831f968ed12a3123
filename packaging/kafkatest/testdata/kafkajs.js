// Reads a running demo with kafkajs: two members of a group that divide four topics,
// one of whom leaves; what administration asks for; what is refused. It reads keys and
// values as Kafka Connect's JSON converter does, which wants every field of a schema
// in its payload and no other, and as readers of Debezium do, which want a payload.
// Argument: the address.
const assert = require("node:assert");
const { Kafka, logLevel } = require("kafkajs");

const kafka = new Kafka({ brokers: [process.argv[2]], clientId: "kafkajs", logLevel: logLevel.NOTHING, retry: { retries: 8 } });
const some = 100;

// conform compares a payload with its schema.
function conform(schema, v, at) {
  if (v === null) return assert(schema.optional, at + " is null");
  switch (schema.type) {
    case "struct":
      assert.deepStrictEqual(Object.keys(v).sort(), schema.fields.map((f) => f.field).sort(), at);
      for (const f of schema.fields) conform(f, v[f.field], at + "." + f.field);
      return;
    case "string":
      return assert.strictEqual(typeof v, "string", at);
    case "boolean":
      return assert.strictEqual(typeof v, "boolean", at);
    case "int16":
    case "int32":
    case "int64":
      return assert(Number.isInteger(v), at);
    case "float":
    case "double":
      return assert.strictEqual(typeof v, "number", at);
  }
  assert.fail(at + " is of type " + schema.type);
}

async function until(what, is) {
  for (let i = 0; !(await is()); i++) {
    assert(i < 600, what);
    await new Promise((done) => setTimeout(done, 100));
  }
}

(async () => {
  const admin = kafka.admin();
  await admin.connect();
  const topics = (await admin.listTopics()).filter((t) => t.startsWith("carbon.public.")).sort();
  assert(topics.includes("carbon.public.finance"), topics);
  const next = {}; // offset by topic
  let values = 0;
  const join = async (name) => {
    const c = kafka.consumer({ groupId: "desk", sessionTimeout: 10000, heartbeatInterval: 500, rebalanceTimeout: 20000 });
    c.parts = null;
    c.on(c.events.GROUP_JOIN, (e) => (c.parts = Object.values(e.payload.memberAssignment).flat().length));
    await c.connect();
    await c.subscribe({ topics, fromBeginning: true });
    await c.run({
      autoCommitThreshold: 1,
      eachMessage: async ({ topic, message }) => {
        const at = Number(message.offset);
        // Delivery is at least once: after a rebalance some come again, but none is left out.
        assert(at <= (next[topic] ?? 0), `${name}: message ${at} of ${topic} after ${next[topic]}`);
        next[topic] = Math.max(next[topic] ?? 0, at + 1);
        const key = JSON.parse(message.key);
        conform(key.schema, key.payload, "key");
        assert.deepStrictEqual(Object.keys(message.headers).sort(), ["lsn", "offset", "txid"]);
        if (message.value === null) return; // a tombstone
        const value = JSON.parse(message.value);
        conform(value.schema, value.payload, topic);
        assert(["c", "u", "d", "r", "t"].includes(value.payload.op));
        values++;
      },
    });
    return c;
  };
  const first = await join("first");
  await until("the first reads", () => values > some);
  const second = await join("second");
  await until("the topics are divided", () => first.parts + second.parts === topics.length && second.parts > 0 && first.parts > 0);
  const [described] = (await admin.describeGroups(["desk"])).groups;
  assert.strictEqual(described.members.length, 2);
  await first.stop();
  await first.disconnect();
  const seen = next["carbon.public.finance"];
  await until("the second takes over", () => second.parts === topics.length && next["carbon.public.finance"] > seen);
  await second.stop();
  await second.disconnect();
  const committed = await admin.fetchOffsets({ groupId: "desk" }); // of all topics
  for (const t of committed) assert(Number(t.partitions[0].offset) <= next[t.topic], JSON.stringify(t));
  assert(committed.some((t) => t.topic === "carbon.public.finance"));
  const [ends] = await admin.fetchTopicOffsets("carbon.public.finance");
  assert(Number(ends.low) === 0 && Number(ends.high) >= next["carbon.public.finance"]);
  const [by] = await admin.fetchTopicOffsetsByTimestamp("carbon.public.finance", 1);
  assert.strictEqual(by.offset, "0");
  await admin.setOffsets({ groupId: "desk", topic: "carbon.public.finance", partitions: [{ partition: 0, offset: "7" }] });
  const [moved] = await admin.fetchOffsets({ groupId: "desk", topics: ["carbon.public.finance"] });
  assert.strictEqual(moved.partitions[0].offset, "7");
  await admin.deleteGroups(["desk"]);
  assert(!(await admin.listGroups()).groups.some((g) => g.groupId === "desk"));
  const producer = kafka.producer({ retry: { retries: 0 } });
  await producer.connect();
  await assert.rejects(producer.send({ topic: "carbon.public.finance", messages: [{ value: "x" }] }), { type: "TOPIC_AUTHORIZATION_FAILED" });
  await producer.disconnect();
  await admin.disconnect();
  console.log(values, "values of", topics.length, "topics");
})().catch((err) => {
  console.error(err);
  process.exit(1);
});
