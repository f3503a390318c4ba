// SPDX-License-Identifier: ISC
// node-postgres as its documentation listens: ends when all notifications are there.
'use strict';
const assert = require('node:assert');
const { Client } = require('pg');

async function main() {
  const listener = new Client();
  const sender = new Client();
  await listener.connect();
  await sender.connect();
  const heard = [];
  const all = new Promise((resolve) => {
    listener.on('notification', (msg) => {
      heard.push([msg.channel, msg.payload, msg.processId]);
      if (heard.length === 5) {
        resolve();
      }
    });
  });
  await listener.query('LISTEN foo');
  for (let i = 0; i < 4; i++) {
    await sender.query('SELECT pg_notify($1, $2)', ['foo', `bar ${i}`]);
  }
  await listener.query("NOTIFY foo, 'mine'");
  await all;
  assert.deepStrictEqual(heard.map((h) => h[1]), ['bar 0', 'bar 1', 'bar 2', 'bar 3', 'mine']);
  assert.deepStrictEqual(heard.map((h) => h[2]), [...Array(4).fill(sender.processID), listener.processID]);
  await listener.end();
  await sender.end();
  console.log('ok');
}

main().catch((e) => { console.error(e); process.exit(1); });
