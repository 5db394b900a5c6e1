// Writes and reads through the Sentinels: MASTER VALUE HOST:PORT..., password on standard input.
const fs = require("fs");
const Redis = require("ioredis");

const [name, value, ...addresses] = process.argv.slice(2);
const password = fs.readFileSync(0, "utf8");
const sentinels = addresses.map((a) => {
  const colon = a.lastIndexOf(":");
  return { host: a.slice(0, colon), port: Number(a.slice(colon + 1)) };
});
const options = { sentinels, name, password, sentinelPassword: password, connectTimeout: 1000, maxRetriesPerRequest: 5 };

async function tryOnce() {
  const master = new Redis(options);
  const replica = new Redis({ ...options, role: "slave" });
  for (const client of [master, replica]) client.on("error", () => {}); // the commands tell
  try {
    await master.set("ioredis", value);
    if ((await master.get("ioredis")) !== value) throw new Error("it reads something else than it wrote");
    if (!(await replica.info("replication")).includes("role:slave")) throw new Error("no replica is named");
  } finally {
    master.disconnect();
    replica.disconnect();
  }
}

async function main() {
  const end = Date.now() + 30000;
  for (;;) {
    try {
      return await tryOnce();
    } catch (error) {
      if (Date.now() > end) throw error;
      await new Promise((done) => setTimeout(done, 100));
    }
  }
}

main().then(
  () => process.exit(0),
  (error) => {
    console.error(String(error));
    process.exit(1);
  },
);
