// Writes keys to a Redis Cluster, HOST:PORT of any node, until standard input ends, whose first line is the password; then
// reads them back. It prints {"acked", "failed", "lost", "error"} as JSON.
const readline = require("readline");
const Redis = require("ioredis");

const [host, port] = process.argv[2].split(":");
const input = readline.createInterface({ input: process.stdin });
let over = false;
input.on("close", () => (over = true));

async function run(password) {
  const cluster = new Redis.Cluster([{ host, port: Number(port) }], {
    redisOptions: { password, connectTimeout: 1000, commandTimeout: 5000 },
    maxRedirections: 64,
    retryDelayOnFailover: 50,
    retryDelayOnClusterDown: 50,
  });
  cluster.on("error", () => {}); // the commands tell
  const acked = [];
  const told = { acked: 0, failed: 0, lost: 0, error: "" };
  for (let n = 0; !over; n++) {
    try {
      await cluster.set(`ioredis:${n}`, n);
      acked.push(n);
      if (acked.length === 1) console.log("writing");
    } catch (error) {
      told.failed++;
      told.error = String(error);
    }
    await new Promise((done) => setTimeout(done, 1));
  }
  told.acked = acked.length;
  for (const n of acked) if ((await cluster.get(`ioredis:${n}`)) !== String(n)) told.lost++;
  console.log(JSON.stringify(told));
  process.exit(0);
}

// ioredis' own look at the slots may end with its connection, and nobody waits for that; writes tell of their errors themselves.
process.on("unhandledRejection", () => {});

input.once("line", (password) =>
  run(password).catch((error) => {
    console.error(String(error));
    process.exit(1);
  }),
);
