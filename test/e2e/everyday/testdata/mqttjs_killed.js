// MQTT.js over a killed broker, MQTT 3.1.1 and 5: publisher and subscriber reconnect by themselves.
const assert = require('node:assert')
const { once } = require('node:events')
const mqtt = require('mqtt')

const wait = (ms) => new Promise((resolve) => setTimeout(resolve, ms))
const connect = (clientId, protocolVersion) => mqtt.connectAsync(`mqtt://127.0.0.1:${process.argv[2]}`, {
  clientId, protocolVersion, username: 'admin', password: 'robustmq', clean: false, reconnectPeriod: 200, properties: protocolVersion === 5 ? { sessionExpiryInterval: 600 } : undefined
})

let back = false
let full = 0 // versions with 20 acknowledged messages

async function killed (version) {
  const sub = await connect(`js-sub-${version}`, version)
  const got = new Set()
  sub.on('message', (topic, payload) => got.add(`${payload}`))
  await sub.subscribeAsync(`js/ledger/${version}`, { qos: 1 })
  const pub = await connect(`js-pub-${version}`, version)
  const acknowledged = []
  for (let after = 0; after < 20;) {
    const value = `${acknowledged.length}`
    await pub.publishAsync(`js/ledger/${version}`, value, { qos: 1 })
    acknowledged.push(value)
    if (back) after++
    if (acknowledged.length === 20 && ++full === 2) console.log('kill')
    await wait(5)
  }
  const missing = () => acknowledged.filter((v) => !got.has(v))
  for (const end = Date.now() + 20000; missing().length && Date.now() < end;) await wait(20)
  assert.deepEqual(missing(), [], 'lost')
  await pub.endAsync()
  await sub.endAsync()
}

once(process.stdin, 'data').then(() => { back = true })
Promise.all([killed(4), killed(5)]).then(() => { console.log('ok'); process.exit(0) }, (e) => { console.error(e); process.exit(1) })
