// SPDX-License-Identifier: ISC
// node-postgres against a pooler, whose place PGHOST, PGPORT and the like tell: what an ordinary service does.
'use strict';
const assert = require('node:assert');
const { Client, Pool } = require('pg');

async function values() {
  const client = new Client();
  await client.connect();
  const { rows } = await client.query('SELECT $1::int AS i, $2::text AS t, $3::jsonb AS j, now() AS at',
    [1, 'naïve', { a: [1] }]);
  assert.deepStrictEqual([rows[0].i, rows[0].t, rows[0].j.a[0]], [1, 'naïve', 1]);
  assert(rows[0].at instanceof Date);
  const many = await client.query('SELECT 1 AS a; SELECT 2 AS b');
  assert.deepStrictEqual(many.map((r) => r.rows[0]), [{ a: 1 }, { b: 2 }]);
  await assert.rejects(client.query('SELECT nonsense'), { code: '42703' });
  await assert.rejects(client.query('SELECT 1/$1::int', [0]), { code: '22012' });
  assert.strictEqual((await client.query('SELECT 7 AS n')).rows[0].n, 7);
  await client.end();
}

async function prepared() {
  const pool = new Pool({ max: 10 });
  for (let turn = 0; turn < 5; turn++) {
    const all = await Promise.all(Array.from({ length: 30 }, (_, i) =>
      pool.query({ name: `stmt-${i % 3}`, text: `SELECT ${i % 3} AS which, $1::int AS i`, values: [i] })));
    all.forEach(({ rows }, i) => assert.deepStrictEqual(rows[0], { which: i % 3, i }));
  }
  await pool.end();
}

async function transactions() {
  const pool = new Pool({ max: 8 });
  await pool.query('DROP TABLE IF EXISTS node_t');
  await pool.query('CREATE TABLE node_t (i int)');
  await Promise.all(Array.from({ length: 20 }, async (_, i) => {
    const client = await pool.connect();
    try {
      await client.query('BEGIN');
      await client.query('INSERT INTO node_t VALUES ($1)', [i]);
      await client.query('SAVEPOINT s');
      await assert.rejects(client.query('INSERT INTO nowhere VALUES (1)'), { code: '42P01' });
      await client.query('ROLLBACK TO s');
      await client.query(i % 2 ? 'ROLLBACK' : 'COMMIT');
    } finally {
      client.release();
    }
  }));
  assert.strictEqual((await pool.query('SELECT count(*)::int AS n FROM node_t')).rows[0].n, 10);
  await pool.query('DROP TABLE node_t');
  await pool.end();
}

async function notices() {
  const client = new Client();
  await client.connect();
  const heard = [];
  client.on('notice', (n) => heard.push(n.message));
  await client.query("DO $$ BEGIN RAISE NOTICE 'hello'; END $$");
  assert.deepStrictEqual(heard, ['hello']);
  await client.end();
}

async function timeouts() {
  const client = new Client({ query_timeout: 100 });
  await client.connect();
  await assert.rejects(client.query('SELECT pg_sleep(100)'), /timeout/);
  client.on('error', () => {}); // the socket is about to go without a goodbye
  client.connection.stream.destroy();
  const other = new Client({ application_name: 'from node' });
  await other.connect();
  await other.query('BEGIN');
  await other.query("SET LOCAL statement_timeout = '50ms'");
  await assert.rejects(other.query('SELECT pg_sleep(100)'), { code: '57014' });
  await other.query('ROLLBACK');
  assert.strictEqual((await other.query('SHOW application_name')).rows[0].application_name, 'from node');
  await other.end();
}

(async () => {
  for (const step of [values, prepared, transactions, notices, timeouts]) {
    await step();
    console.log(`${step.name} ok`);
  }
})().catch((e) => { console.error(e); process.exit(1); });
