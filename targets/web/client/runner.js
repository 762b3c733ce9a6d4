// SPDX-License-Identifier: Apache-2.0
// A whole job: load a model, predict the images, time one of them. The same for every engine, in Node and in a page.

/** This place cannot run the job, which says nothing about the artifact. */
export class Unsupported extends Error {}

/**
 * Returns the scores (one row after another, as the model outputs them) and a report: labels, times in milliseconds, what ran.
 *
 * `engine(job)` resolves to `load`, and `load(read)` to {labels, gpu, ready, facts}. `ready(images, count = 1)` returns
 * {predict, release}, where `predict` is what is timed: it resolves to the images' rows when these are in host memory. `gpu` and `facts()` describe what ran.
 * `read(name)` resolves to the bytes of one of the artifact's files; `images` is a typed array of job.shape, as the model takes
 * them. Where the place cannot run the job, the report is {unsupported: why} and there are no scores. Where job.asks_for_quiet,
 * `quiet.ask()` resolves when nothing else computes on this machine, and `quiet.release()` ends that.
 */
export async function runJob(engine, job, read, images, quiet) {
  try {
    const [startMs, load] = await timed(() => engine(job));
    const [loadMs, model] = await timed(() => load(read));
    const predict = model.gpu.software_gpu ? predictFew : predictAndTime;
    const { scores, times } = await predict(model, job, images, quiet);
    const environment = { start_ms: startMs, ...(await model.facts()), ...model.gpu };
    return { scores, report: { labels: model.labels, load_ms: loadMs, ...times, environment } };
  } catch (error) {
    if (error instanceof Unsupported) {
      return { scores: null, report: { unsupported: error.message } };
    }
    throw error;
  }
}

async function timed(call) {
  const start = performance.now();
  const result = await call();
  return [performance.now() - start, result];
}

/** Calls job.warmup times, then for job.settle_s seconds, then on while ten calls take less than the ten before, for at most 5 s. */
async function warmUp(call, job) {
  for (let round = 0; round < job.warmup; round += 1) {
    await call();
  }
  const begun = performance.now();
  const sinceSettled = () => (performance.now() - begun) / 1000 - job.settle_s;
  for (let last = Infinity; job.settle_s; ) {
    const times = [];
    while (times.length < 10 && (times.length === 0 || sinceSettled() < 5)) {
      times.push((await timed(call))[0]);
    }
    const median = times.sort((one, other) => one - other)[Math.floor(times.length / 2)];
    const passed = sinceSettled();
    if (passed > 5 || (passed > 0 && median >= last)) {
      return;
    }
    last = median;
  }
}

/**
 * Returns the scores and times of a software-rendered GPU, which takes up to half a minute per image: those of the first images of
 * an order, as many as there is time for, the last call's time alone, and two images in one batch where that is affordable.
 */
async function predictFew(model, job, images) {
  const { ready, pick } = access(model, job, images);
  const one = ready(job.order[0]);
  const [firstMs, first] = await timed(one.predict);
  one.release();
  const begun = performance.now();
  const spent = (budgetS) => performance.now() - begun > 1000 * budgetS;
  const rows = [first];
  let lastMs = firstMs;
  for (const at of job.order.slice(1)) {
    if (rows.length >= job.fewest && spent(rows.length >= job.enough ? job.few_s : job.longest_s)) {
      break;
    }
    const [ms, row] = await timed(() => predicted(ready(at)));
    rows.push(row);
    lastMs = ms;
  }
  const indices = job.order.slice(0, rows.length);
  const batches = spent(job.longest_s) ? [] : job.batches.slice(0, 1).map((batch) => batch.slice(0, 2));
  for (const batch of batches) {
    rows.push(await inBatch(model, pick(batch), batch.length));
  }
  return { scores: joined(rows), times: { image_indices: indices, batches, first_ms: firstMs, latencies_ms: [lastMs] } };
}

async function predictAndTime(model, job, images, quiet) {
  const { ready, pick } = access(model, job, images);
  const order = Array.from({ length: job.shape[0] }, (_, at) => at);
  const one = ready(order[0]);
  const [firstMs] = await timed(one.predict);
  const rows = [];
  for (const at of order) {
    rows.push(await predicted(ready(at)));
  }
  for (const batch of job.batches) {
    rows.push(await inBatch(model, pick(batch), batch.length));
  }
  if (job.asks_for_quiet) {
    await quiet.ask();
  }
  await warmUp(one.predict, job);
  const latenciesMs = [];
  for (let round = 0; round < job.rounds; round += 1) {
    latenciesMs.push((await timed(one.predict))[0]);
  }
  if (job.asks_for_quiet) {
    await quiet.release();
  }
  one.release();
  const times = { image_indices: order, batches: job.batches, first_ms: firstMs, latencies_ms: latenciesMs };
  return { scores: joined(rows), times };
}

/** Returns what puts one image where the model takes it, and what joins some images. */
function access(model, job, images) {
  const size = job.shape.slice(1).reduce((product, length) => product * length, 1);
  return {
    ready: (at) => model.ready(images.slice(at * size, (at + 1) * size)),
    pick: (some) => joined(some.map((at) => images.subarray(at * size, (at + 1) * size))),
  };
}

/** Returns the rows of one call, and releases its images. */
async function predicted(call) {
  const rows = await call.predict();
  call.release();
  return rows;
}

async function inBatch(model, images, count) {
  try {
    return await predicted(model.ready(images, count));
  } catch (error) {
    throw new Error(`it ran single images, but not a batch of ${count}: ${error.message || error}`);
  }
}

/** Returns typed arrays of one type as one. */
function joined(arrays) {
  const whole = new arrays[0].constructor(arrays.reduce((length, each) => length + each.length, 0));
  let at = 0;
  for (const each of arrays) {
    whole.set(each, at);
    at += each.length;
  }
  return whole;
}
