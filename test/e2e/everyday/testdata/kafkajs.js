// kafkajs: admin, produce, a consumer group, SASL/PLAIN, refusals, a killed broker.
const assert = require('node:assert')
const { once } = require('node:events')
const { Kafka, logLevel, CompressionTypes } = require('kafkajs')

const brokers = [`127.0.0.1:${process.argv[2]}`]
const client = (extra = {}) => new Kafka({
  clientId: 'everyday', brokers, logLevel: logLevel.NOTHING,
  retry: { initialRetryTime: 100, maxRetryTime: 500, retries: 60 }, ...extra,
})
const as = (password, extra = { retry: { retries: 0 } }) => client({ sasl: { mechanism: 'plain', username: 'admin', password }, ...extra })

async function administer (admin) {
  assert.equal(await admin.createTopics({ topics: [{ topic: 'js', numPartitions: 3 }, { topic: 'js.ledger', numPartitions: 1 },
    { topic: 'js.small', configEntries: [{ name: 'max.message.bytes', value: '10000' }] }] }), true)
  assert.equal(await admin.createTopics({ topics: [{ topic: 'js' }] }), false, 'the topic exists')
  const { topics } = await admin.fetchTopicMetadata({ topics: ['js'] })
  assert.equal(topics[0].partitions.length, 3)
  await assert.rejects(admin.fetchTopicMetadata({ topics: ['js.none'] }), { type: 'UNKNOWN_TOPIC_OR_PARTITION' })
}

// consume returns what a group gets until it has n different values, or for 10 s, and commits.
async function consume (kafka, groupId, topic, n) {
  const values = new Set()
  const consumer = kafka.consumer({ groupId, maxWaitTimeInMs: 200 })
  const got = []
  await consumer.connect()
  await consumer.subscribe({ topics: [topic], fromBeginning: true })
  await new Promise((resolve, reject) => {
    setTimeout(resolve, 10_000).unref()
    consumer.on(consumer.events.CRASH, (e) => { if (!e.payload.restart) reject(e.payload.error) })
    consumer.run({ eachMessage: async ({ message }) => { got.push(message); if (values.add(`${message.value}`).size === n) resolve() } }).catch(reject)
  })
  await consumer.disconnect()
  return got
}

async function produceAndConsume (kafka, producer, admin) {
  const messages = Array.from({ length: 60 }, (_, i) => ({ key: `k${i % 7}`, value: `v${i}`, headers: { h: [`${i}`, 'twice'] } }))
  await producer.send({ topic: 'js', acks: -1, messages: messages.slice(0, 30) })
  await producer.send({ topic: 'js', acks: -1, compression: CompressionTypes.GZIP, messages: messages.slice(30) })
  const got = await consume(kafka, 'js-group', 'js', messages.length)
  assert.deepEqual(got.map((m) => `${m.value}`).sort(), messages.map((m) => m.value).sort())
  for (const m of got) assert.deepEqual(m.headers.h.map(String), [`${m.value}`.slice(1), 'twice'])
  const [{ partitions }] = await admin.fetchOffsets({ groupId: 'js-group', topics: ['js'] })
  const ends = await admin.fetchTopicOffsets('js')
  const sum = (list) => list.reduce((n, p) => n + Math.max(0, Number(p.offset)), 0)
  assert.equal(sum(partitions), messages.length, 'what was committed')
  assert.equal(sum(ends), messages.length)
}

async function refusals () {
  const good = as('robustmq').admin()
  await good.connect()
  assert.ok((await good.listTopics()).includes('js'))
  await good.disconnect()
  await assert.rejects(as('wrong').admin().connect(), { name: 'KafkaJSSASLAuthenticationError' })
  const producer = client({ retry: { retries: 0 } }).producer()
  await producer.connect()
  await assert.rejects(producer.send({ topic: 'js.small', messages: [{ value: Buffer.alloc(20000, 'x') }] }), { type: 'MESSAGE_TOO_LARGE' })
  await assert.rejects(producer.send({ topic: 'js.none', messages: [{ value: 'x' }] }),
    (e) => e.name === 'KafkaJSNumberOfRetriesExceeded' && e.cause.type === 'UNKNOWN_TOPIC_OR_PARTITION')
  await producer.disconnect()
}

// killed: what was acknowledged before, while and after the broker was away is there.
async function killed (kafka, producer) {
  const acknowledged = []
  let back = false
  once(process.stdin, 'data').then(() => { back = true })
  for (let i = 0, after = 0; after < 20; i++) {
    await producer.send({ topic: 'js.ledger', acks: -1, messages: [{ value: `${i}` }] })
    acknowledged.push(`${i}`)
    if (i === 20) console.log('kill')
    if (back) after++
  }
  const got = new Set((await consume(kafka, 'js-ledger', 'js.ledger', acknowledged.length)).map((m) => `${m.value}`))
  assert.deepEqual(acknowledged.filter((v) => !got.has(v)), [], 'lost')
}

async function main () {
  const kafka = as('robustmq', {})
  const admin = kafka.admin()
  const producer = kafka.producer({ allowAutoTopicCreation: false })
  await admin.connect()
  await producer.connect()
  await administer(admin)
  await produceAndConsume(kafka, producer, admin)
  await refusals()
  await killed(kafka, producer)
  await producer.disconnect()
  await admin.deleteTopics({ topics: ['js'] })
  assert.ok(!(await admin.listTopics()).includes('js'))
  await admin.disconnect()
  console.log('ok')
}

main().then(() => process.exit(0), (e) => { console.error(e); process.exit(1) })
