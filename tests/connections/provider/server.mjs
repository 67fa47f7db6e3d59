// A real OAuth provider (oidc-provider) and an interface that believes its tokens, for the tests of connections.
// Configuration: one JSON document in argv[2]. Prints {"port": n} once it listens. What it is asked is counted, and a file
// named `drop` beside its certificate makes the next answer of the token endpoint get lost after the provider did its work.
import fs from "node:fs";
import https from "node:https";
import path from "node:path";
import Provider from "oidc-provider";

const config = JSON.parse(process.argv[2]);
const folder = config.folder;
const counts = { grants: {}, api: [], revoked: 0 };

const provider = new Provider(config.issuer, {
  clients: config.clients,
  cookies: { keys: ["a key of the test"] },
  scopes: ["openid", "issues:read", "issues:write"],
  claims: { openid: ["sub"], "issues:read": ["name"] },
  features: {
    deviceFlow: { enabled: true },
    clientCredentials: { enabled: true },
    revocation: { enabled: true },
    introspection: { enabled: true },
    devInteractions: { enabled: true },
  },
  findAccount: async (_ctx, id) => ({ accountId: id, claims: async () => ({ sub: id, name: `${id}@outside` }) }),
  issueRefreshToken: async () => config.refresh,
  rotateRefreshToken: config.rotate,
  pkce: { required: () => true, methods: ["S256"] },
  conformIdTokenClaims: false,
  ttl: {
    AccessToken: config.seconds, ClientCredentials: config.seconds, RefreshToken: 86400, Grant: 86400, Session: 86400,
    Interaction: 600, DeviceCode: 600, AuthorizationCode: 60, IdToken: 600,
  },
});
provider.on("grant.success", (ctx) => count(ctx.oidc.params.grant_type));
provider.on("grant.error", (ctx) => count(`${ctx.oidc.params?.grant_type} refused`));
const consents = new Set();
provider.on("grant.saved", (grant) => consents.add(grant.jti));
async function forget() {
  for (const id of consents) {
    await provider.AccessToken.revokeByGrantId(id);
    await provider.RefreshToken.revokeByGrantId(id);
    await (await provider.Grant.find(id))?.destroy();
  }
}
async function spoil(request) {
  await (await provider.AccessToken.find((request.headers.authorization ?? "").replace(/^Bearer /, "")))?.destroy();
}
provider.on("server_error", (_ctx, error) => console.error(error));
function count(what) {
  counts.grants[what] = (counts.grants[what] ?? 0) + 1;
}

const believed = provider.callback();

async function api(request, response) {
  const token = (request.headers.authorization ?? "").replace(/^Bearer /, "");
  const found = (await provider.AccessToken.find(token)) ?? (await provider.ClientCredentials.find(token));
  const good = found && !found.isExpired && found.scopes.has("issues:read");
  counts.api.push({ path: request.url, status: good ? 200 : 401, account: found?.accountId ?? null });
  response.writeHead(good ? 200 : 401, { "content-type": "application/json" });
  response.end(JSON.stringify(good ? { issues: ["one"], of: found.accountId ?? found.clientId } : { error: "invalid_token" }));
}

const server = https.createServer(
  { key: fs.readFileSync(path.join(folder, "key.pem")), cert: fs.readFileSync(path.join(folder, "cert.pem")) },
  (request, response) => {
    if (request.url === "/_counts") {
      response.end(JSON.stringify(counts));
    } else if (request.url === "/_forget") {
      forget().then(() => response.end("{}"), (error) => response.destroy(error));
    } else if (request.url === "/_spoil") {
      spoil(request).then(() => response.end("{}"), (error) => response.destroy(error));
    } else if (request.url.startsWith("/api/")) {
      api(request, response).catch((error) => response.destroy(error));
    } else {
      if (request.url === "/token/revocation" ) counts.revoked += 1;
      const drop = path.join(folder, "drop");
      if (request.url === "/token" && fs.existsSync(drop)) {
        fs.unlinkSync(drop);
        const end = response.end.bind(response);
        response.end = () => { response.end = end; request.socket.destroy(); return response; };
      }
      believed(request, response);
    }
  },
);
server.listen(0, "127.0.0.1", () => console.log(JSON.stringify({ port: server.address().port })));
