// What each JavaScript library tells its user when the broker refuses: a line of JSON a case.
// Usage: refused.js MQTT KAFKA NATS AMQP (ports). refused_test.go says what exists and what is closed to the user.
const { randomBytes } = require('node:crypto')
const { once } = require('node:events')
const mqtt = require('mqtt')
const { Kafka, logLevel } = require('kafkajs')
const { connect } = require('@nats-io/transport-node')
const amqp = require('amqplib')

const [MQTT, KAFKA, NATS, AMQP] = process.argv.slice(2)
const user = 'limited'
const password = 'limited-secret'
const wrong = 'wrong'
const large = randomBytes(300_000) // over the broker's limit

// attempt tells what words the user gets for what act does.
async function attempt (client, name, act) {
  const started = Date.now()
  let words
  try { words = `${await act() ?? 'taken'}` } catch (e) { words = e.message || `${e}` }
  console.log(JSON.stringify({ client, case: name, words, ms: Date.now() - started }))
}

async function withMQTT (name, protocolVersion) {
  const client = (pass) => mqtt.connectAsync(`mqtt://127.0.0.1:${MQTT}`, { username: user, password: pass, protocolVersion, reconnectPeriod: 0 }, false)
  await attempt(name, 'wrong password', () => client(wrong))
  for (const [label, topic, message] of [['publish', 'closed/x', 'x'], ['too large', 'open/x', large]]) {
    const publisher = await client(password)
    const closed = once(publisher, 'close').then(() => { throw new Error('connection closed') })
    const told = once(publisher, 'disconnect').then(([p]) => { throw new Error(`disconnected with 0x${p.reasonCode.toString(16)}`) })
    await attempt(name, label, () => Promise.race([told, closed, publisher.publishAsync(topic, message, { qos: 1 })]))
    publisher.end(true)
  }
  const subscriber = await client(password)
  await attempt(name, 'subscribe', () => subscriber.subscribeAsync('closed/#', { qos: 1 }).then((granted) => `granted ${JSON.stringify(granted)}`))
  subscriber.end(true)
}

async function withKafka () {
  const name = 'kafkajs'
  const kafka = (pass) => new Kafka({ brokers: [`127.0.0.1:${KAFKA}`], logLevel: logLevel.NOTHING, sasl: { mechanism: 'plain', username: user, password: pass }, retry: { retries: 1, initialRetryTime: 100 } })
  await attempt(name, 'wrong password', () => kafka(wrong).producer().connect())
  const client = kafka(password)
  const producer = client.producer({ allowAutoTopicCreation: false })
  await producer.connect()
  await attempt(name, 'publish', () => producer.send({ topic: 'closed.topic', messages: [{ value: 'x' }] }))
  await attempt(name, 'too large', () => producer.send({ topic: 'open.topic', messages: [{ value: large }] }))
  await attempt(name, 'unknown', () => producer.send({ topic: 'unknown.topic', messages: [{ value: 'x' }] }))
  await producer.disconnect()
  for (const [label, topic] of [['subscribe', 'closed.topic'], ['read unknown', 'unknown.topic']]) {
    const consumer = client.consumer({ groupId: `refused-js-${topic}`, allowAutoTopicCreation: false })
    await consumer.connect()
    const crashed = new Promise((resolve, reject) => consumer.on(consumer.events.CRASH, (e) => reject(e.payload.error)))
    await attempt(name, label, async () => {
      await consumer.subscribe({ topics: [topic], fromBeginning: true })
      await consumer.run({ eachMessage: async () => {} })
      await crashed
    })
    await consumer.disconnect()
  }
}

async function withNATS () {
  const name = '@nats-io'
  const client = (pass) => connect({ servers: `127.0.0.1:${NATS}`, user, pass, reconnect: false })
  await attempt(name, 'wrong password', () => client(wrong))
  const nc = await client(password)
  const status = nc.status()
  await attempt(name, 'publish', async () => {
    nc.publish('closed.x', 'x')
    for await (const s of status) if (s.type === 'error') throw s.error
  })
  await attempt(name, 'subscribe', () => new Promise((resolve, reject) => nc.subscribe('closed.>', { callback: (e) => e && reject(e) })))
  await attempt(name, 'too large', () => nc.publish('open.x', large))
  await attempt(name, 'unknown', () => nc.request('unknown.service', '', { timeout: 10_000 }))
  await nc.close()
}

async function withAMQP () {
  const name = 'amqplib'
  const client = (pass) => amqp.connect(`amqp://${user}:${pass}@127.0.0.1:${AMQP}/`)
  await attempt(name, 'wrong password', () => client(wrong))
  const connection = await client(password)
  connection.on('error', () => {})
  const refused = async (act) => {
    const channel = await connection.createConfirmChannel()
    const failed = once(channel, 'error').then(([e]) => { throw e })
    const returned = once(channel, 'return').then(([m]) => m.fields.replyText)
    return Promise.race([failed, returned, Promise.resolve(act(channel)).then(() => channel.waitForConfirms())])
  }
  await attempt(name, 'publish', () => refused((c) => { c.publish('', 'closed.queue', Buffer.from('x')) }))
  await attempt(name, 'subscribe', () => refused((c) => c.consume('closed.queue', () => {})))
  await attempt(name, 'too large', () => refused((c) => { c.publish('', 'open.queue', large) }))
  await attempt(name, 'unknown', () => refused((c) => { c.publish('unknown.exchange', 'x', Buffer.from('x')) }))
  await attempt(name, 'unknown queue', () => refused((c) => { c.publish('', 'unknown.queue', Buffer.from('x'), { mandatory: true }) }))
  await attempt(name, 'read unknown', () => refused((c) => c.checkQueue('unknown.queue')))
  await connection.close()
}

async function main () {
  await withMQTT('MQTT.js 3.1.1', 4)
  await withMQTT('MQTT.js 5', 5)
  await withKafka()
  await withNATS()
  await withAMQP()
}

main().then(() => process.exit(0), (e) => { console.error(e); process.exit(1) })
