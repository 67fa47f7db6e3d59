// An outside of HTTP/2 that is none of ours (Node's), which speaks HTTP/1.1 too to whoever asks for that.
//   node outside_h2.mjs <certificate.pem> <key.pem> [client-ca.pem]   prints its port, then a line for each connection
import crypto from "node:crypto";
import fs from "node:fs";
import http2 from "node:http2";
import { Readable } from "node:stream";

const [cert, key, clients] = process.argv.slice(2);
let connections = 0;
const server = http2.createSecureServer({
  cert: fs.readFileSync(cert), key: fs.readFileSync(key), allowHTTP1: true,
  ...(clients ? { ca: fs.readFileSync(clients), requestCert: true, rejectUnauthorized: true } : {}),
});
server.on("secureConnection", () => { connections += 1; });
server.on("sessionError", () => {});

function* pieces(count) {
  const piece = Buffer.alloc(65536, "y");
  for (let n = 0; n < count; n++) yield piece;
}

server.on("request", (request, response) => {
  const path = request.url.split("?")[0];
  const said = request.headers.authorization ?? "";
  // What it was authorized with, in a form that is no echo.
  const digest = said && crypto.createHash("sha256").update(said).digest("hex");
  const headers = Object.fromEntries(Object.entries(request.headers).filter(([name]) => name !== "authorization"));
  const subject = request.stream?.session?.socket?.getPeerCertificate?.().subject ?? request.socket.getPeerCertificate?.().subject;
  let size = 0;
  const json = () => {
    response.setHeader("content-type", "application/json");
    response.end(JSON.stringify({ version: request.httpVersion, method: request.method, url: request.url, headers, authorization: digest, size, connections, client: subject?.CN }));
  };
  request.on("error", () => {});
  response.on("error", () => {});
  if (path === "/big") {
    Readable.from(pieces(320)).pipe(response);
  } else if (path === "/drip") {
    response.writeHead(200);
    const timer = setInterval(() => response.write("."), 100);
    response.on("close", () => clearInterval(timer));
  } else if (path === "/silent") {
    // no answer
  } else if (path === "/cut") {
    (request.stream ?? request.socket).destroy();
  } else if (path === "/early") {
    response.writeHead(413);
    response.end("too much");
  } else if (path === "/echo") {
    response.end(`you sent ${said}`);
  } else if (path === "/echo-header") {
    response.setHeader("x-echo", said);
    response.end("see the header");
  } else if (path === "/echo-trailer") {
    response.writeHead(200);
    response.write("see the trailer");
    response.addTrailers({ "x-echo": said });
    response.end();
  } else if (path === "/trailer") {
    response.writeHead(200);
    response.write("see the trailer");
    response.addTrailers({ "x-digest": "1" });
    response.end();
  } else {
    request.on("data", (data) => { size += data.length; });
    request.on("end", json);
  }
});
server.listen(0, "127.0.0.1", () => console.log(server.address().port));
