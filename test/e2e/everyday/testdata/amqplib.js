// amqplib: confirms, consume with prefetch, requeue, refusals, a killed broker.
const assert = require('node:assert')
const { once } = require('node:events')
const amqp = require('amqplib')

const url = (password) => `amqp://admin:${password}@127.0.0.1:${process.argv[2]}/`
const wait = (ms) => new Promise((resolve) => setTimeout(resolve, ms))

async function connect () {
  const connection = await amqp.connect(url('robustmq'))
  connection.on('error', () => {}) // the one who waits for an answer is told too
  return connection
}

// refused makes call fail on a channel of its own, and returns the reply code.
async function refused (connection, call) {
  const channel = await connection.createChannel()
  const failed = once(channel, 'error')
  call(channel)?.catch?.(() => {})
  const [e] = await failed
  return e.code
}

async function confirmsAndPrefetch (connection) {
  const channel = await connection.createConfirmChannel()
  await channel.assertExchange('js.topic', 'topic', { durable: true })
  await channel.assertQueue('js.work', { durable: true })
  await channel.bindQueue('js.work', 'js.topic', 'work.*.now')
  for (let i = 0; i < 20; i++) {
    channel.publish('js.topic', `work.${i}.now`, Buffer.from(`${i}`), { persistent: true, contentType: 'text/plain', correlationId: `c${i}`, headers: { n: i, s: 'x' } })
  }
  channel.publish('js.topic', 'work.later', Buffer.from('unbound'))
  await channel.waitForConfirms()
  const returned = once(channel, 'return')
  channel.publish('', 'js.no.queue', Buffer.from('back'), { mandatory: true })
  assert.equal(`${(await returned)[0].content}`, 'back')
  await channel.waitForConfirms()

  await channel.prefetch(3)
  const got = []
  let outstanding = 0
  let most = 0
  await new Promise((resolve) => channel.consume('js.work', (m) => {
    most = Math.max(most, ++outstanding)
    got.push(m)
    setTimeout(() => { outstanding--; channel.ack(m); if (got.length === 20) resolve() }, 5)
  }, { consumerTag: 'js-tag' }))
  await channel.cancel('js-tag')
  assert.equal(most, 3, 'as many as the prefetch count, and no more')
  assert.deepEqual(got.map((m) => `${m.content}`), Array.from({ length: 20 }, (_, i) => `${i}`))
  const { properties: p, fields } = got[7]
  assert.deepEqual([p.contentType, p.correlationId, p.headers.n, p.headers.s, p.deliveryMode, fields.routingKey, fields.redelivered],
    ['text/plain', 'c7', 7, 'x', 2, 'work.7.now', false])
  await channel.close()
}

async function requeue (connection) {
  const channel = await connection.createConfirmChannel()
  await channel.assertQueue('js.requeue')
  channel.sendToQueue('js.requeue', Buffer.from('again'))
  await channel.waitForConfirms()
  const first = await channel.get('js.requeue')
  assert.deepEqual([`${first.content}`, first.fields.redelivered], ['again', false])
  channel.nack(first, false, true)
  let second
  for (let i = 0; i < 100 && !second; i++) {
    second = await channel.get('js.requeue')
    if (!second) await wait(10)
  }
  assert.deepEqual([`${second.content}`, second.fields.redelivered], ['again', true])
  channel.nack(second, false, false)
  assert.equal(await channel.get('js.requeue'), false)
  await channel.deleteQueue('js.requeue')
  await channel.close()
}

async function replies (connection) {
  const channel = await connection.createChannel()
  await channel.assertQueue('js.rpc', { autoDelete: true })
  await channel.consume('js.rpc', (m) => channel.sendToQueue(m.properties.replyTo, Buffer.from(`re: ${m.content}`), { correlationId: m.properties.correlationId }), { noAck: true })
  const answered = new Promise((resolve) => channel.consume('amq.rabbitmq.reply-to', resolve, { noAck: true }))
  channel.sendToQueue('js.rpc', Buffer.from('ping'), { replyTo: 'amq.rabbitmq.reply-to', correlationId: '7' })
  const answer = await answered
  assert.deepEqual([`${answer.content}`, answer.properties.correlationId], ['re: ping', '7'])
  await channel.close()
}

async function refusals (connection) {
  assert.equal(await refused(connection, (c) => c.checkQueue('js.none')), 404)
  assert.equal(await refused(connection, (c) => c.checkExchange('js.none')), 404)
  assert.equal(await refused(connection, (c) => c.publish('js.none', 'x', Buffer.from('x'))), 404)
  assert.equal(await refused(connection, (c) => c.assertQueue('js.work', { durable: false })), 406)
  assert.equal(await refused(connection, (c) => c.assertExchange('amq.mine', 'direct')), 403)
  assert.equal(await refused(connection, (c) => c.ack({ fields: { deliveryTag: 99 } })), 406)
  assert.equal(await refused(connection, (c) => c.sendToQueue('js.work', Buffer.alloc(17 << 20))), 311)
  await assert.rejects(amqp.connect(url('wrong')), /403 \(ACCESS[-_]REFUSED\)/)
  const channel = await connection.createChannel() // the connection has outlived them all
  assert.equal((await channel.checkQueue('js.work')).messageCount, 0)
  await channel.close()
}

// killed: the library does not reconnect, so this does what its users do. What was confirmed is there.
async function killed () {
  const confirmed = []
  let back = false
  let channel
  once(process.stdin, 'data').then(() => { back = true })
  for (let i = 0, after = 0; after < 20;) {
    try {
      if (!channel) {
        const connection = await connect()
        connection.on('close', () => { channel = undefined })
        const opened = await connection.createConfirmChannel()
        opened.on('error', () => {})
        await opened.assertQueue('js.ledger', { durable: true })
        channel = opened
      }
      const value = `${i++}`
      await new Promise((resolve, reject) => channel.sendToQueue('js.ledger', Buffer.from(value), { persistent: true }, (e) => e ? reject(e) : resolve()))
      confirmed.push(value)
      if (confirmed.length === 20) console.log('kill')
      if (back) after++
    } catch {
      channel = undefined
      await wait(50)
    }
  }
  const got = new Set()
  for (let m; (m = await channel.get('js.ledger', { noAck: true }));) got.add(`${m.content}`)
  assert.deepEqual(confirmed.filter((v) => !got.has(v)), [], 'lost')
}

async function main () {
  const connection = await connect()
  await confirmsAndPrefetch(connection)
  await requeue(connection)
  await replies(connection)
  await refusals(connection)
  await connection.close()
  await killed()
  console.log('ok')
}

main().then(() => process.exit(0), (e) => { console.error(e); process.exit(1) })
