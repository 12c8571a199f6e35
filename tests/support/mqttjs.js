// SPDX-License-Identifier: BSD-2-Clause
//
// mqttjs.js -- a conversation of MQTT.js with a broker: node mqttjs.js PORT LEVEL
// (level 3, 4 or 5).  Ends with status 0 when everything came as it should.
'use strict';

const mqtt = require('mqtt');

const port = Number(process.argv[2]);
const level = Number(process.argv[3]);
const url = `mqtt://127.0.0.1:${port}`;

setTimeout(() => {
  console.error('the conversation did not end');
  process.exit(1);
}, 30000 * Number(process.env.SOL_TEST_SLOW || 1)).unref();

function connect(clientId, more = {}) {
  const options = { protocolVersion: level, clientId, reconnectPeriod: 0, ...more };
  if (level === 3) options.protocolId = 'MQIsdp';
  return mqtt.connectAsync(url, options);
}

// The messages of a client one by one, in order.
function inbox(client) {
  const waiting = [];
  const arrived = [];
  client.on('message', (topic, payload, packet) => {
    const message = { topic, payload: payload.toString(), packet };
    if (waiting.length) waiting.shift()(message);
    else arrived.push(message);
  });
  return () => new Promise((resolve) => {
    if (arrived.length) resolve(arrived.shift());
    else waiting.push(resolve);
  });
}

function same(got, wanted, what) {
  if (got !== wanted) throw new Error(`${what}: wanted ${wanted}, got ${got}`);
}

async function exchange() {
  const client = await connect('js-exchange');
  const next = inbox(client);
  await client.subscribeAsync('js/#', { qos: 2 });
  for (const qos of [0, 1, 2]) {
    await client.publishAsync('js/x', `message ${qos}`, { qos });
    const { topic, payload, packet } = await next();
    same(topic, 'js/x', 'topic');
    same(payload, `message ${qos}`, 'payload');
    same(packet.qos, qos, 'qos');
  }
  await client.endAsync();
}

async function retained() {
  const client = await connect('js-retained');
  await client.publishAsync('js-retained/x', 'kept', { qos: 1, retain: true });
  const next = inbox(client);
  await client.subscribeAsync('js-retained/+', { qos: 1 });
  const { payload, packet } = await next();
  same(payload, 'kept', 'retained payload');
  same(packet.retain, true, 'retain flag');
  await client.endAsync();
}

async function will() {
  const watcher = await connect('js-watcher');
  const next = inbox(watcher);
  await watcher.subscribeAsync('js-will', { qos: 1 });
  const doomed = await connect('js-doomed', { will: { topic: 'js-will', payload: Buffer.from('gone'), qos: 1 } });
  doomed.stream.destroy();
  same((await next()).payload, 'gone', 'will');
  await watcher.endAsync();
  await doomed.endAsync(true);
}

async function session() {
  const kept = { clean: false, properties: level === 5 ? { sessionExpiryInterval: 300 } : undefined };
  const first = await connect('js-session', kept);
  await first.subscribeAsync('js-queue', { qos: 1 });
  await first.endAsync();
  const other = await connect('js-other');
  for (let i = 1; i <= 5; i++) await other.publishAsync('js-queue', String(i), { qos: 1 });
  await other.endAsync();
  const again = mqtt.connect(url, { protocolVersion: level, protocolId: level === 3 ? 'MQIsdp' : 'MQTT',
    clientId: 'js-session', reconnectPeriod: 0, ...kept });
  const next = inbox(again);
  for (let i = 1; i <= 5; i++) same((await next()).payload, String(i), 'queued message');
  await again.endAsync();
}

// The client library's own reconnect, after the connection has been cut.
async function reconnect() {
  const client = await connect('js-reconnect', { reconnectPeriod: 50 });
  const next = inbox(client);
  await client.subscribeAsync('js-reconnect', { qos: 1 });
  const back = new Promise((resolve) => client.once('connect', resolve));
  client.stream.destroy();
  await back;
  await client.subscribeAsync('js-reconnect', { qos: 1 });
  await client.publishAsync('js-reconnect', 'back again', { qos: 1 });
  same((await next()).payload, 'back again', 'after reconnect');
  await client.endAsync();
}

async function properties() {
  if (level !== 5) return;
  const client = await connect('js-properties');
  const next = inbox(client);
  await client.subscribeAsync('js-properties', { qos: 1 });
  await client.publishAsync('js-properties', '{}', { qos: 1, properties: { contentType: 'application/json',
    responseTopic: 'answer', correlationData: Buffer.from('7'), userProperties: { key: 'value' } } });
  const { packet } = await next();
  same(packet.properties.contentType, 'application/json', 'content type');
  same(packet.properties.responseTopic, 'answer', 'response topic');
  same(packet.properties.userProperties.key, 'value', 'user property');
  await client.endAsync();
}

(async () => {
  for (const step of [exchange, retained, will, session, reconnect, properties]) {
    await step();
    console.log(`${step.name} ok`);
  }
  process.exit(0);
})().catch((error) => {
  console.error(error);
  process.exit(1);
});
