// Registers a customer, places an order, and watches it to its end: over the WebSocket, and by polling.
//
//   npm run order -- <address of the API> [SKU]
//
// Without a SKU it orders the first product that is in stock. `cargo ops outputs` prints the address as `api_url`.

import { randomUUID } from "node:crypto";
import { setTimeout as wait } from "node:timers/promises";
import createClient, { type Client } from "openapi-fetch";
import WebSocket from "ws";
import type { components, paths } from "./generated/api.js";
import type { components as live } from "./generated/frames.js";

type Status = components["schemas"]["OrderStatus"];
type Frame = live["schemas"]["Frame"];
type ClientFrame = live["schemas"]["ClientFrame"];

/** An order takes seconds. Functions that start cold on a busy machine take longer. */
const PATIENCE = AbortSignal.timeout(180_000);
const CALL_TIMEOUT_MS = 10_000;
const TRIES = 5;

const FINAL: Status[] = ["OrderCompleted", "OrderCancelled", "NeedsAttention"];

/** Repeats a request that the API did not take (429, 503), or that got no answer and may be repeated. */
async function send(request: Request): Promise<Response> {
  const repeatable = request.method === "GET" || request.headers.has("Idempotency-Key");
  for (let attempt = 1; ; attempt++) {
    try {
      const response = await fetch(request.clone(), { signal: AbortSignal.timeout(CALL_TIMEOUT_MS) });
      if (attempt === TRIES || ![429, 503].includes(response.status)) return response;
      await wait(retryAfter(response) ?? 1_000 * attempt);
    } catch (error) {
      if (attempt === TRIES || !repeatable || PATIENCE.aborted) throw error;
      await wait(1_000 * attempt);
    }
  }
}

/** `Retry-After` in milliseconds, if the response has one. */
function retryAfter(response: Response): number | undefined {
  const value = response.headers.get("Retry-After");
  return value === null ? undefined : 1_000 * Number(value);
}

/** The body of a success. */
function body<T>({ data, error, response }: { data?: T; error?: unknown; response: Response }): T {
  if (data === undefined) throw new Error(`${response.url}: ${response.status} ${JSON.stringify(error)}`);
  return data;
}

/** A client with the tokens of a new customer. */
async function customer(baseUrl: string): Promise<Client<paths>> {
  const shop = createClient<paths>({ baseUrl, fetch: send });
  // An address of SES's mailbox simulator, which takes every e-mail.
  const email = `success+${randomUUID()}@simulator.amazonses.com`;
  const password = randomUUID();
  body(await shop.POST("/v1/auth/register", { body: { email, password, name: "Ada Lovelace" } }));
  const tokens = body(await shop.POST("/v1/auth/login", { body: { email, password } }));
  const headers = { Authorization: `Bearer ${tokens.access_token}` };
  return createClient<paths>({ baseUrl, fetch: send, headers });
}

async function inStock(shop: Client<paths>): Promise<string> {
  const { items } = body(await shop.GET("/v1/products"));
  const product = items.find(({ availability }) => availability === "in_stock");
  if (!product) throw new Error("no product is in stock: name a SKU");
  return product.sku;
}

async function place(shop: Client<paths>, sku: string) {
  const placed = await shop.POST("/v1/orders", {
    params: { header: { "Idempotency-Key": randomUUID() } },
    body: {
      items: [{ sku, quantity: 1 }],
      payment_method: "pm_card_visa",
      shipping_address: {
        name: "Ada Lovelace",
        line1: "1 Main St",
        city: "Springfield",
        postal_code: "12345",
        country: "US",
      },
    },
  });
  return body(placed);
}

/** Reads the order's events until `Retry-After` is missing, which means that the order has ended. */
async function poll(shop: Client<paths>, id: string): Promise<Status> {
  let after = 0;
  let status: Status = "OrderCreated";
  for (;;) {
    const answer = await shop.GET("/v1/orders/{id}/events", { params: { path: { id }, query: { after } } });
    for (const event of body(answer).items) {
      console.log(`REST       ${event.version} ${event.event_type}`);
      ({ version: after, status } = event);
    }
    const pause = retryAfter(answer.response);
    if (pause === undefined || FINAL.includes(status)) return status;
    await wait(pause, undefined, { signal: PATIENCE });
  }
}

/** Follows the order's frames until one has a final status. */
async function follow(shop: Client<paths>, id: string): Promise<Status> {
  const { url, ticket } = body(await shop.POST("/v1/realtime/tickets"));
  const socket = new WebSocket(`${url}?ticket=${ticket}`, { handshakeTimeout: CALL_TIMEOUT_MS });
  try {
    return await new Promise<Status>((resolve, reject) => {
      const tell = (frame: ClientFrame) => socket.send(JSON.stringify(frame));
      PATIENCE.addEventListener("abort", () => reject(PATIENCE.reason));
      socket.on("open", () => tell({ action: "subscribe", order_id: id, after: 0 }));
      socket.on("error", reject);
      socket.on("close", () => reject(new Error("the WebSocket was closed before the order ended")));
      socket.on("message", (text) => {
        const frame: Frame = JSON.parse(text.toString());
        if (frame.type === "error") reject(new Error(`${frame.code}: ${frame.message}`));
        if (frame.type !== "order") return;
        console.log(`WebSocket  ${frame.version} ${frame.event_type}`);
        if (frame.status && FINAL.includes(frame.status)) resolve(frame.status);
      });
    });
  } finally {
    socket.close();
  }
}

const [address, named] = process.argv.slice(2);
if (!address) {
  console.error("usage: npm run order -- <address of the API> [SKU]");
  process.exit(2);
}
const shop = await customer(address.replace(/\/$/, ""));
const order = await place(shop, named ?? (await inStock(shop)));
console.log(`placed ${order.order_id}`);
const ends = await Promise.all([poll(shop, order.order_id), follow(shop, order.order_id)]);
console.log(`ended as ${ends.join(", ")}`);
process.exit(ends.every((status) => status === "OrderCompleted") ? 0 : 1);
