// @nats-io/transport-node: publish and subscribe, request and reply, queue groups, headers, refusals,
// a killed broker.
const assert = require('node:assert')
const { once } = require('node:events')
const { connect, headers, AuthorizationError, errors } = require('@nats-io/transport-node')

const servers = `127.0.0.1:${process.argv[2]}`
const account = { servers, user: 'admin', pass: 'robustmq' }
const patience = 10_000

// take returns the next n messages of a subscription.
async function take (sub, n) {
  const got = []
  const timer = setTimeout(() => sub.unsubscribe(), patience)
  for await (const m of sub) {
    got.push(m)
    if (got.length === n) break
  }
  clearTimeout(timer)
  assert.equal(got.length, n)
  return got
}

async function publishAndSubscribe (nc) {
  const all = nc.subscribe('js.>')
  const star = nc.subscribe('js.*.x', { max: 2 })
  await nc.flush()
  const h = headers()
  h.append('Key', '1')
  h.append('Key', '2')
  nc.publish('js.a.x', 'one', { headers: h, reply: 'js.reply' })
  nc.publish('js.b.x', new Uint8Array([0, 255]))
  nc.publish('js.c.y')
  nc.publish('js.d.x', 'behind the max')
  const got = await take(all, 4)
  assert.deepEqual(got.map((m) => m.subject), ['js.a.x', 'js.b.x', 'js.c.y', 'js.d.x'])
  assert.deepEqual([got[0].string(), got[0].reply, got[0].headers.values('Key')], ['one', 'js.reply', ['1', '2']])
  assert.deepEqual([...got[1].data], [0, 255])
  assert.equal(got[2].data.length, 0)
  const two = []
  for await (const m of star) two.push(m.subject) // ends by itself
  assert.deepEqual(two, ['js.a.x', 'js.b.x'])
  assert.equal(nc.info.max_payload, 1 << 20)
  const big = nc.subscribe('js-big')
  nc.publish('js-big', new Uint8Array(nc.info.max_payload).fill(7))
  const [m] = await take(big, 1)
  assert.ok(m.data.length === 1 << 20 && m.data.every((b) => b === 7))
}

async function requests (nc) {
  const service = nc.subscribe('js-service')
  const served = (async () => { for await (const m of service) m.respond(`re: ${m.string()}`, { headers: m.headers }) })()
  const h = headers()
  h.set('Trace', 'abc')
  const replies = await Promise.all(Array.from({ length: 50 }, (_, i) => nc.request('js-service', `${i}`, { timeout: patience, headers: h })))
  assert.deepEqual(replies.map((m) => m.string()), replies.map((_, i) => `re: ${i}`))
  assert.equal(replies[0].headers.get('Trace'), 'abc')
  await service.drain()
  await served
  await assert.rejects(nc.request('js-nobody', '', { timeout: patience }), (e) => e instanceof errors.NoRespondersError || e.cause instanceof errors.NoRespondersError)
}

async function queueGroups (nc) {
  const counts = [0, 0, 0]
  const values = []
  const other = await connect(account)
  const subs = counts.map((_, i) => (i ? nc : other).subscribe('js-queue', { queue: 'workers', callback: (e, m) => { counts[i]++; values.push(m.string()) } }))
  await nc.flush()
  await other.flush()
  for (let i = 0; i < 300; i++) nc.publish('js-queue', `${i}`)
  const end = Date.now() + patience
  while (values.length < 300 && Date.now() < end) await new Promise((resolve) => setTimeout(resolve, 10))
  await nc.flush()
  await other.flush()
  assert.equal(new Set(values).size, 300)
  assert.equal(values.length, 300, 'each message goes to one member')
  assert.ok(counts.every((n) => n > 0), `members got ${counts}`)
  subs.forEach((s) => s.unsubscribe())
  await other.drain()
}

async function refusals (nc) {
  await assert.rejects(connect({ ...account, pass: 'wrong', reconnect: false }), AuthorizationError)
  await assert.rejects(connect({ servers, token: 'none', reconnect: false }), AuthorizationError)
  assert.throws(() => nc.publish('js.big', new Uint8Array(nc.info.max_payload + 1)), /max_payload/)
}

// killed: the library reconnects and subscribes again.
async function killed () {
  const nc = await connect({ ...account, maxReconnectAttempts: -1, reconnectTimeWait: 50 })
  const sub = nc.subscribe('js-killed')
  nc.publish('js-killed', 'before')
  const service = nc.subscribe('js-killed-service', { callback: (e, m) => m.respond('still here') })
  await nc.flush()
  const statuses = []
  const again = (async () => {
    for await (const s of nc.status()) {
      statuses.push(s.type)
      if (s.type === 'reconnect') return
    }
  })()
  console.log('kill')
  await once(process.stdin, 'data')
  await again
  assert.ok(statuses.includes('disconnect'), statuses)
  nc.publish('js-killed', 'after')
  assert.deepEqual((await take(sub, 2)).map((m) => m.string()), ['before', 'after'])
  assert.equal((await nc.request('js-killed-service', '', { timeout: patience })).string(), 'still here')
  service.unsubscribe()
  await nc.drain()
}

async function main () {
  const nc = await connect(account)
  await publishAndSubscribe(nc)
  await requests(nc)
  await queueGroups(nc)
  await refusals(nc)
  await nc.drain()
  await killed()
  console.log('ok')
}

main().then(() => process.exit(0), (e) => { console.error(e); process.exit(1) })
