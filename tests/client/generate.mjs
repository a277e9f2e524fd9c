// Writes the types of the REST API and of the WebSocket's frames to src/generated/.
import { mkdir, readFile, writeFile } from "node:fs/promises";
import openapiTS, { astToString } from "openapi-typescript";

const contracts = new URL("../../shared/contracts/", import.meta.url);
const generated = new URL("src/generated/", import.meta.url);

const read = async (name, reviver) => JSON.parse(await readFile(new URL(name, contracts), "utf8"), reviver);
const write = async (name, description) =>
  writeFile(new URL(name, generated), astToString(await openapiTS(description)));

await mkdir(generated, { recursive: true });
await write("api.ts", await read("openapi.json"));

// openapi-typescript reads OpenAPI only. The schemas of asyncapi.json are JSON Schemas in the same place. In JSON Schema
// a reference can have other members beside it, which openapi-typescript does not read; it reads `allOf`.
const separate = (_, schema) => {
  const { $ref, ...others } = schema ?? {};
  return $ref && Object.keys(others).length > 0 ? { allOf: [{ $ref }, others] } : schema;
};
const { info, components } = await read("asyncapi.json", separate);
const schemas = { ...components.schemas, ClientFrame: components.messages.client.payload };
const { title, version } = info;
await write("frames.ts", { openapi: "3.1.0", info: { title, version }, paths: {}, components: { schemas } });
