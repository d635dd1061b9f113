// Makes certificates for tests: DER by hand, keys and signatures by Node.
import { generateKeyPairSync, sign } from 'node:crypto';

const OID = {
  commonName: '550403',
  ecdsaWithSha256: '2a8648ce3d040302',
  sha256WithRsa: '2a864886f70d01010b',
  basicConstraints: '551d13',
  subjectAltName: '551d11',
};

function der(tag, ...parts) {
  const body = Buffer.concat(parts.map((part) => Buffer.from(part)));
  const { length } = body;
  const size = length < 128 ? [length] : length < 256 ? [0x81, length] : [0x82, length >> 8, length & 255];
  return Buffer.concat([Buffer.from([tag, ...size]), body]);
}

const sequence = (...parts) => der(0x30, ...parts);
const oid = (hex) => der(6, Buffer.from(hex, 'hex'));
const name = (commonName) => sequence(der(0x31, sequence(oid(OID.commonName), der(12, commonName))));
const time = (date) => der(0x18, `${date.toISOString().replace(/[-:T]|\..*/g, '')}Z`);
const extension = (id, ...value) => sequence(oid(id), der(1, [0xff]), der(4, sequence(...value)));

function algorithm({ asymmetricKeyType }) {
  return asymmetricKeyType === 'rsa'
    ? sequence(oid(OID.sha256WithRsa), der(5))
    : sequence(oid(OID.ecdsaWithSha256));
}

let serial = 0;

/**
 * Makes a key and its certificate, valid for an hour, for `localhost` and 127.0.0.1.
 * @param {{ commonName?: string, issuer?: object, type?: 'ec' | 'rsa', isAuthority?: boolean }} options without an
 *   issuer the certificate is self-signed
 */
export function makeCertificate({ commonName = 'localhost', issuer, type = 'ec', isAuthority = false } = {}) {
  const { privateKey, publicKey } = generateKeyPairSync(type, { namedCurve: 'P-256', modulusLength: 2048 });
  const signer = issuer ?? { commonName, privateKey };
  const now = Date.now();
  const body = sequence(
    der(0xa0, der(2, [2])),
    der(2, [1, (serial += 1)]),
    algorithm(signer.privateKey),
    name(signer.commonName),
    sequence(time(new Date(now - 3_600_000)), time(new Date(now + 3_600_000))),
    name(commonName),
    publicKey.export({ type: 'spki', format: 'der' }),
    der(
      0xa3,
      sequence(
        isAuthority
          ? extension(OID.basicConstraints, der(1, [0xff]))
          : extension(OID.subjectAltName, der(0x82, 'localhost'), der(0x87, [127, 0, 0, 1])),
      ),
    ),
  );
  const signature = sign('sha256', body, signer.privateKey);
  const certificate = sequence(body, algorithm(signer.privateKey), der(3, [0], signature));
  const lines = certificate.toString('base64').replace(/.{64}(?=.)/g, '$&\n');
  return {
    commonName,
    privateKey,
    cert: `-----BEGIN CERTIFICATE-----\n${lines}\n-----END CERTIFICATE-----\n`,
    key: privateKey.export({ type: 'pkcs8', format: 'pem' }),
  };
}
