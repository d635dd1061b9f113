// Behaviours of clients and applications. Each is played to 0.3.3 and to this server.
//
// Unless a behaviour says otherwise there are clients 0, 1 and 2, and a channel between 0 and 1. `a`, `b`, … are connections,
// `$TOKEN0` is the token of client 0. 0.3.3 forgets the authentication of a connection after each frame, so most behaviours
// authenticate before each relay frame.

const authentication = (id) => `{"authentication":{"clientId":${id},"token":"$TOKEN${id}"}}`;
const relay = (target, message) => JSON.stringify({ relay: { targetId: target, message } });

const open = (...names) => ['open', ...names];
const send = (name, ...frames) => ['send', name, ...frames];
const auth = (name, id) => send(name, authentication(id));
/** Authenticates and relays. */
const tell = (name, id, target, message) => send(name, authentication(id), relay(target, message));

/** `a` is client 0, `b` client 1. */
const both = [open('a', 'b'), auth('a', 0), auth('b', 1)];
const alive = [tell('a', 0, 1, 'alive')];

const behaviours = [];
function add(name, steps, rest = {}) {
  behaviours.push({ name, steps, ...rest });
}

/** Sends a frame of an authenticated client, and checks that its channel still works. */
const frame = (name, text, rest) => add(name, [...both, send('a', text), ...alive], rest);
/** Sends a first frame of an unauthenticated client, and checks that it can still authenticate. */
const greeting = (name, text, rest) => add(name, [open('a', 'b'), auth('b', 1), send('a', text), open('c'), tell('c', 0, 1, 'alive')], rest);

// Messages: every string arrives as it was sent.
for (const [name, message] of Object.entries({
  'a word': 'hello',
  'a space': ' ',
  'the empty string': '',
  'a digit': '0',
  'JSON': '{"relay":{"targetId":1,"message":"x"}}',
  'null as text': 'null',
  'quotes': '"\'`',
  'backslashes': 'C:\\temp\\',
  'what looks like an escape': '\\u0041 \\n',
  'slashes': '</script>//',
  'line breaks': '\n\r\n\r',
  'tabs, form feeds, backspaces': '\t\f\b\v',
  'NUL': '\0',
  'NUL in the middle': 'a\0b',
  'all control characters': String.fromCharCode(...Array(32).keys()),
  'DEL and C1 controls': '\u007f\u0080\u009f',
  'U+2028 and U+2029': 'a\u2028b\u2029c',
  'a byte order mark': '\ufeffx',
  'noncharacters': '\ufffe\uffff\u{1fffe}\u{10ffff}',
  'the replacement character': '\ufffd',
  'Latin': 'žluťoučký kůň',
  'Greek and Cyrillic': 'Ελληνικά Русский',
  'Chinese, Japanese, Korean': '漢字 かな 한글',
  'right to left': 'שלום مرحبا',
  'marks of direction': 'a\u202eb\u202c\u2066c\u2069',
  'combining marks': 'e\u0301 Z\u0351\u036b',
  'a composed letter beside its parts': '\u00e9 e\u0301',
  'an emoji': '😀',
  'joined emoji': '👩‍🚀👨‍👩‍👧‍👦',
  'flags': '🇨🇿🏴󠁧󠁢󠁥󠁮󠁧󠁿',
  'a private character': '\ue000\u{f0000}',
  'zero width characters': 'a\u200bb\u200dc\u2060d',
  'a lone high surrogate': '\ud800',
  'a lone low surrogate': '\udc00',
  'surrogates the wrong way round': '\udc00\ud800',
  'a lone surrogate beside a pair': '\ud83d😀\ude00',
  '__proto__': '__proto__',
  '250 characters': 'x'.repeat(250),
  '10,000 characters': 'x'.repeat(10_000),
  '10,000 emoji': '😀'.repeat(10_000),
  'a megabyte': 'x'.repeat(1_000_000),
  '64 KiB and one': 'x'.repeat(65_537),
})) {
  add(`message: ${name}`, [...both, send('a', relay(1, message)), ...alive]);
}
// The same characters in different notations.
for (const [name, json] of Object.entries({
  'escapes nobody needs': '"\\u0041\\u007a\\/"',
  'escapes in capitals': '"\\u00E9\\u00Af"',
  'a pair of surrogates as escapes': '"\\ud83d\\ude00"',
  'lone surrogates as escapes': '"\\ud800 \\udc00"',
  'NUL as an escape': '"\\u0000"',
  'all short escapes': '"\\"\\\\\\/\\b\\f\\n\\r\\t"',
  'U+2028 unescaped': '"\u2028"',
  'DEL unescaped': '"\u007f"',
})) {
  frame(`message written with ${name}`, `{"relay":{"targetId":1,"message":${json}}}`);
}

// Each member, with each kind of value.
const VALUES = {
  'null': 'null',
  'true': 'true',
  'false': 'false',
  'an empty list': '[]',
  'a list of one': '[1]',
  'an empty object': '{}',
  'an object': '{"a":1}',
  'an empty string': '""',
  'a digit as text': '"1"',
  'text': '"x"',
  'a fraction': '1.5',
  'a negative number': '-1',
  'a number that is too large': '9007199254740992',
  'a number beyond all': '1e400',
};
for (const [name, value] of Object.entries(VALUES)) {
  frame(`relay is ${name}`, `{"relay":${value}}`);
  frame(`targetId is ${name}`, `{"relay":{"targetId":${value},"message":"x"}}`);
  if (!['an empty string', 'a digit as text', 'text'].includes(name)) frame(`message is ${name}`, `{"relay":{"targetId":1,"message":${value}}}`);
  greeting(`authentication is ${name}`, `{"authentication":${value}}`);
  greeting(`clientId is ${name}`, `{"authentication":{"clientId":${value},"token":"$TOKEN0"}}`);
  greeting(`token is ${name}`, `{"authentication":{"clientId":0,"token":${value}}}`);
  greeting(`a frame that is ${name}`, value);
}

// Numbers, as JSON writes them.
for (const [name, number] of Object.entries({
  'with a zero fraction': '1.0',
  'with an exponent': '1e0',
  'with a capital exponent': '1E0',
  'with a signed exponent': '1e+0',
  'with a negative exponent': '10e-1',
  'with a long fraction': '1.00000000000000000000000000',
  'closer to 1 than a double can tell': '1.00000000000000000001',
  'with many zeros': '100000000000000000000e-20',
  'below 1': '0.1e1',
})) {
  frame(`target ${name}`, `{"relay":{"targetId":${number},"message":"x"}}`);
}
for (const [name, number] of Object.entries({ 'minus zero': '-0', 'zero with an exponent': '0e5', 'too small to tell from 0': '1e-400' })) {
  greeting(`client ${name}`, `{"authentication":{"clientId":${number},"token":"$TOKEN0"}}`);
}

// Invalid JSON.
for (const [name, text] of Object.entries({
  'nothing': '',
  'a space': ' ',
  'a word': 'hello',
  'undefined': 'undefined',
  'NaN': 'NaN',
  'a brace': '{',
  'JSON that is cut': '{"relay":{"targetId":1,"message":"x"}',
  'JSON with something behind it': '{"relay":{"targetId":1,"message":"x"}}x',
  'two frames in one': '{"relay":{"targetId":1,"message":"x"}}{"relay":{"targetId":1,"message":"y"}}',
  'single quotes': "{'relay':{'targetId':1,'message':'x'}}",
  'names without quotes': '{relay:{targetId:1,message:"x"}}',
  'a comma too many': '{"relay":{"targetId":1,"message":"x",}}',
  'a comment': '{"relay":{"targetId":1,"message":"x"}}//',
  'a byte order mark': '\ufeff{"relay":{"targetId":1,"message":"x"}}',
  'a no-break space': '\u00a0{"relay":{"targetId":1,"message":"x"}}',
  'a vertical tab': '\v{"relay":{"targetId":1,"message":"x"}}',
  'NUL behind it': '{"relay":{"targetId":1,"message":"x"}}\0',
  'a raw line break in a string': '{"relay":{"targetId":1,"message":"\n"}}',
  'a raw NUL in a string': '{"relay":{"targetId":1,"message":"\0"}}',
  'an escape that is none': '{"relay":{"targetId":1,"message":"\\x41"}}',
  'half an escape': '{"relay":{"targetId":1,"message":"\\u00"}}',
  'a number with a leading zero': '{"relay":{"targetId":01,"message":"x"}}',
  'a number with a plus': '{"relay":{"targetId":+1,"message":"x"}}',
  'a number without digits before the point': '{"relay":{"targetId":.5,"message":"x"}}',
  'a number without digits behind the point': '{"relay":{"targetId":1.,"message":"x"}}',
  'a number in hex': '{"relay":{"targetId":0x1,"message":"x"}}',
  'Infinity': '{"relay":{"targetId":Infinity,"message":"x"}}',
})) {
  frame(`not JSON: ${name}`, text);
}
greeting('not JSON, of a stranger', 'hello');

// Unusual JSON.
for (const [name, text] of Object.entries({
  'white space': ' \t\r\n{ "relay" : { "targetId" : 1 , "message" : "x" } }\n',
  'megabytes of white space': `{"relay":${' '.repeat(500_000)}{"targetId":1,${'\n'.repeat(500_000)}"message":"x"}}`,
  'the message before its target': '{"relay":{"message":"x","targetId":1}}',
  'escaped names': '{"\\u0072elay":{"t\\u0061rgetId":1,"messag\\u0065":"x"}}',
  'members nobody knows': '{"a":[{}],"relay":{"b":null,"targetId":1,"message":"x","c":{}},"d":1.5e300}',
  'a lone surrogate as a name': '{"\\ud800":1,"relay":{"targetId":1,"message":"x"}}',
  'an empty name': '{"":1,"relay":{"":2,"targetId":1,"message":"x"}}',
  '__proto__ beside it': '{"__proto__":{"relay":1},"relay":{"targetId":1,"message":"x","__proto__":null}}',
  'constructor and toString beside it': '{"constructor":1,"relay":{"targetId":1,"message":"x","toString":null,"hasOwnProperty":1}}',
  'a repeated target': '{"relay":{"targetId":2,"message":"x","targetId":1}}',
  'a repeated message': '{"relay":{"targetId":1,"message":"x","message":"y"}}',
  'a repeated relay': '{"relay":{"targetId":1,"message":"x"},"relay":{"targetId":1,"message":"y"}}',
  'null beside it': '{"authentication":null,"relay":{"targetId":1,"message":"x"}}',
  'an authentication that is none beside it': '{"authentication":{"clientId":0},"relay":{"targetId":1,"message":"x"}}',
  'members of generation 2': '{"relay":{"targetId":1,"message":"x","seq":1,"first":true}}',
  'a senderId of somebody else': '{"relay":{"senderId":2,"targetId":1,"message":"x"}}',
})) {
  frame(`relay with ${name}`, text);
}
for (const [name, text] of Object.entries({
  'an unknown frame': '{"hello":"world"}',
  'everything only in __proto__': '{"__proto__":{"relay":{"targetId":1,"message":"x"}}}',
  'everything only in __proto__ of the relay': '{"relay":{"__proto__":{"targetId":1,"message":"x"}}}',
  'names with points': '{"relay.targetId":1,"relay.message":"x"}',
  'names in capitals': '{"Relay":{"targetId":1,"message":"x"}}',
  'no target': '{"relay":{"message":"x"}}',
  'no message': '{"relay":{"targetId":1}}',
  'a frame of the server': '{"relay":{"senderId":0,"message":"x"}}',
  'a received frame': '{"received":{"senderId":1,"offset":1}}',
  'a ping frame': '{"ping":{}}',
  'a relay inside a list': '[{"relay":{"targetId":1,"message":"x"}}]',
  'a relay inside a relay': '{"relay":{"relay":{"targetId":1,"message":"x"}}}',
  'the last of a repeated relay wrong': '{"relay":{"targetId":1,"message":"x"},"relay":1}',
  'a long one': `{"hello":"${'x'.repeat(500)}"}`,
  'white space in it': '{ "hello" : [ 1, 2 ] }',
  'escapes in it': '{"h\\u0065llo":"w\\u00f6rld"}',
  'numbers in it': '{"hello":[1e0,1.0,-0]}',
  'repeated members in it': '{"hello":1,"hello":2}',
  'a token in it': '{"token":"$TOKEN0"}',
  'lists in lists, 100 deep': `${'['.repeat(100)}${']'.repeat(100)}`,
  'lists in lists, 1,000 deep': `${'['.repeat(1000)}${']'.repeat(1000)}`,
  'lists in lists, 5,000 deep': `${'['.repeat(5000)}${']'.repeat(5000)}`,
  'lists in lists, 100,000 deep': `${'['.repeat(100_000)}${']'.repeat(100_000)}`,
  'objects in objects, 100,000 deep': `${'{"a":'.repeat(100_000)}1${'}'.repeat(100_000)}`,
})) {
  frame(`unrecognized: ${name}`, text);
}
frame('unrecognized: brackets that never close', '['.repeat(100_000));
frame('relay with a message nested beside it', `{"a":${'['.repeat(100)}${']'.repeat(100)},"relay":{"targetId":1,"message":"x"}}`);

// Authentication.
add('authenticates and waits', [open('a'), auth('a', 0)]);
add('authenticates and relays in one go', [open('a', 'b'), auth('b', 1), tell('a', 0, 1, 'x')]);
add('both authenticate, one relays', [...both, send('a', relay(1, 'x'))]);
add('both relay once', [...both, send('a', relay(1, 'x')), send('b', relay(0, 'y'))]);
add('they take turns, saying each time who they are', [open('a', 'b'), auth('b', 1), tell('a', 0, 1, '1'), tell('b', 1, 0, '2'), tell('a', 0, 1, '3'), tell('b', 1, 0, '4')]);
add('three messages, saying each time who it is', [...both, tell('a', 0, 1, '1'), tell('a', 0, 1, '2'), tell('a', 0, 1, '3')]);
add('three messages in one go, saying each time who it is', [...both, send('a', ...['1', '2', '3'].flatMap((text) => [authentication(0), relay(1, text)]))]);
add('two messages', [...both, send('a', relay(1, '1'), relay(1, '2'))]);
add('two messages, one after the other', [...both, send('a', relay(1, '1')), send('a', relay(1, '2'))]);
add('ten messages in one go', [...both, send('a', ...Array.from({ length: 10 }, (_, n) => relay(1, `${n}`)))]);
add('a message behind a mistake', [...both, send('a', 'hello', relay(1, 'x'))]);
add('a message behind a frame nobody knows', [...both, send('a', '{"hello":1}', relay(1, 'x'))]);
add('relays before it says who it is', [open('a', 'b'), auth('b', 1), send('a', relay(1, 'x')), tell('a', 0, 1, 'y')]);
add('relays and then says who it is, in one go', [open('a', 'b'), auth('b', 1), send('a', relay(1, 'x'), authentication(0))]);
add('never says who it is', [open('a', 'b'), auth('b', 1), send('a', relay(1, 'x'))]);
add('says who it is twice', [open('a', 'b'), auth('b', 1), auth('a', 0), tell('a', 0, 1, 'x')]);
add('says who it is twice in one go', [open('a', 'b'), auth('b', 1), send('a', authentication(0), authentication(0), relay(1, 'x'))]);
add('says that it is somebody else later', [open('a', 'b'), auth('b', 1), auth('a', 0), auth('a', 2)]);
add('authentication with members nobody knows', [open('a', 'b'), auth('b', 1), send('a', '{"authentication":{"clientId":0,"token":"$TOKEN0","name":"Ada"},"x":1}', relay(1, 'x'))]);
add('authentication of version 1', [open('a', 'b'), auth('b', 1), send('a', '{"authentication":{"clientId":0,"token":"$TOKEN0","version":1}}', relay(1, 'x'))]);
add('authentication of version 2', [open('a', 'b'), auth('b', 1), send('a', '{"authentication":{"clientId":0,"token":"$TOKEN0","version":2,"session":"9f86d081884c7d65"}}', relay(1, 'x'))]);
add('authentication of version 2 without a session', [open('a', 'b'), auth('b', 1), send('a', '{"authentication":{"clientId":0,"token":"$TOKEN0","version":2}}', relay(1, 'x'))]);
add('authentication of version 3', [open('a', 'b'), auth('b', 1), send('a', '{"authentication":{"clientId":0,"token":"$TOKEN0","version":3}}', relay(1, 'x'))]);
add('authentication, token first', [open('a', 'b'), auth('b', 1), send('a', '{"authentication":{"token":"$TOKEN0","clientId":0}}', relay(1, 'x'))]);
add('authentication with white space', [open('a', 'b'), auth('b', 1), send('a', ' { "authentication" : { "clientId" : 0 , "token" : "$TOKEN0" } } ', relay(1, 'x'))]);
add('authentication with repeated members', [open('a', 'b'), auth('b', 1), send('a', '{"authentication":{"clientId":9,"clientId":0,"token":"x","token":"$TOKEN0"}}', relay(1, 'x'))]);
add('authentication and relay in one frame', [open('a', 'b'), auth('b', 1), send('a', '{"relay":{"targetId":1,"message":"x"},"authentication":{"clientId":0,"token":"$TOKEN0"}}'), tell('a', 0, 1, 'y')]);
for (const [name, members] of Object.entries({
  'the token of another': '"clientId":0,"token":"$TOKEN1"',
  'a token that is too short': '"clientId":0,"token":"abc"',
  'a token that is too long': '"clientId":0,"token":"$TOKEN0$TOKEN0"',
  'a space behind the token': '"clientId":0,"token":"$TOKEN0 "',
  'a token of Unicode': '"clientId":0,"token":"😀"',
  'a lone surrogate as the token': '"clientId":0,"token":"\\ud800"',
  'NUL as the token': '"clientId":0,"token":"\\u0000"',
  'an unknown id': '"clientId":3,"token":"$TOKEN0"',
  'an id far beyond': '"clientId":9007199254740991,"token":"$TOKEN0"',
  'an unknown id and no token of anybody': '"clientId":3,"token":"x"',
})) {
  greeting(`wrong: ${name}`, `{"authentication":{${members}}}`);
}
greeting('no token', '{"authentication":{"clientId":0}}');
greeting('no clientId', '{"authentication":{"token":"$TOKEN0"}}');
greeting('no members', '{"authentication":{}}');
add('wrong, and then right, in one go', [open('a', 'b'), auth('b', 1), send('a', '{"authentication":{"clientId":0,"token":"x"}}', authentication(0), relay(1, 'x'))]);
add('right, and then wrong', [...both, send('a', '{"authentication":{"clientId":0,"token":"x"}}')]);
add('wrong, three times, and then right', [
  ...['a', 'b', 'c'].flatMap((name) => [open(name), send(name, '{"authentication":{"clientId":0,"token":"x"}}')]),
  open('d'), auth('d', 0),
]);

// Channels.
add('no channel', [...both, send('a', relay(2, 'x')), ...alive]);
add('a target that nobody is', [...both, send('a', relay(7, 'x')), ...alive]);
add('itself without a channel', [...both, send('a', relay(0, 'x')), ...alive]);
add('a channel to itself', [...both, send('a', relay(0, 'x'))], { channels: [[0, 0], [0, 1]] });
add('a channel to itself, before it is there', [open('a'), send('a', authentication(0), relay(0, 'x')), auth('a', 0)], { channels: [[0, 0]] });
add('the other way round', [...both, send('b', relay(0, 'x'))]);
add('a channel that was registered the other way round', [...both, send('a', relay(1, 'x'))], { channels: [[1, 0]] });
add('a channel registered while both are there', [...both, tell('a', 0, 1, 'early'), ['channel', 0, 1], tell('a', 0, 1, 'late')], { channels: [] });
add('a client registered while others are there', [...both, ['register'], ['channel', 0, 3], open('c'), auth('c', 3), tell('a', 0, 3, 'x')]);
add('a triangle', [
  open('a', 'b', 'c'), auth('a', 0), auth('b', 1), auth('c', 2),
  tell('a', 0, 1, 'ab'), tell('a', 0, 2, 'ac'), tell('b', 1, 2, 'bc'), tell('c', 2, 0, 'ca'),
], { channels: [[0, 1], [1, 2], [0, 2]] });
add('two who write to a third', [
  open('a', 'b', 'c'), auth('a', 0), auth('b', 1), auth('c', 2),
  tell('a', 0, 2, 'a1'), tell('b', 1, 2, 'b1'), tell('a', 0, 2, 'a2'),
], { channels: [[0, 2], [1, 2]] });
add('one who writes to two', [open('a', 'b', 'c'), auth('b', 1), auth('c', 2), send('a', authentication(0), relay(1, 'x'), authentication(0), relay(2, 'y'))], { channels: [[0, 1], [0, 2]] });
add('a third hears nothing', [...both, open('c'), auth('c', 2), tell('a', 0, 1, 'x')]);
add('a stranger hears nothing', [...both, open('c'), tell('a', 0, 1, 'x')]);

// Messages for absent clients.
add('waits for who was never there', [open('a'), tell('a', 0, 1, 'x'), open('b'), auth('b', 1)]);
add('three wait, and come in order', [open('a'), tell('a', 0, 1, '1'), tell('a', 0, 1, '2'), tell('a', 0, 1, '3'), open('b'), auth('b', 1)]);
add('waits although its sender has left', [open('a'), tell('a', 0, 1, 'x'), ['close', 'a', 1000], open('b'), auth('b', 1)]);
add('waits although its sender has broken off', [open('a'), tell('a', 0, 1, 'x'), ['terminate', 'a'], open('b'), auth('b', 1)]);
add('what waits comes once', [open('a'), tell('a', 0, 1, 'x'), open('b'), auth('b', 1), ['close', 'b', 1000], open('c'), auth('c', 1)]);
add('what waits does not come to a stranger', [open('a'), tell('a', 0, 1, 'x'), open('b'), auth('b', 2), open('c'), auth('c', 1)]);
add('what waits comes before what is new', [open('a'), tell('a', 0, 1, 'old'), open('b'), auth('b', 1), tell('a', 0, 1, 'new')]);
add('of two senders', [open('a', 'b'), tell('a', 0, 2, 'a'), tell('b', 1, 2, 'b'), open('c'), auth('c', 2)], { channels: [[0, 2], [1, 2]] });
add('a wrong token gets nothing that waits', [open('a'), tell('a', 0, 1, 'x'), open('b'), send('b', '{"authentication":{"clientId":1,"token":"$TOKEN0"}}'), open('c'), auth('c', 1)]);
add('every string waits as it was sent', [open('a'), tell('a', 0, 1, '\ud800\0"\\\u2028😀'), open('b'), auth('b', 1)]);
add('a hundred wait', [open('a'), send('a', ...Array.from({ length: 100 }, (_, n) => [authentication(0), relay(1, `${n}`)]).flat()), open('b'), auth('b', 1)]);

// Connecting and disconnecting.
add('opens and closes', [open('a'), ['close', 'a', 1000]]);
add('opens and breaks off', [open('a'), ['terminate', 'a'], open('b'), auth('b', 0)]);
add('closes with a code and a reason', [open('a'), auth('a', 0), ['close', 'a', 4321, 'bye']]);
add('closes without a code', [open('a'), auth('a', 0), ['close', 'a']]);
add('leaves and comes back', [...both, ['close', 'a', 1000], open('c'), tell('c', 0, 1, 'x')]);
add('leaves and comes back, and is written to', [...both, ['close', 'b', 1000], open('c'), auth('c', 1), tell('a', 0, 1, 'x')]);
add('breaks off, comes back, and is written to', [...both, ['terminate', 'b'], open('c'), auth('c', 1), tell('a', 0, 1, 'x')]);
add('written to after it left', [...both, ['close', 'b', 1000], tell('a', 0, 1, 'x'), open('c'), auth('c', 1)]);
add('written to after it broke off', [...both, ['terminate', 'b'], tell('a', 0, 1, 'x'), open('c'), auth('c', 1)]);
add('a newer connection is written to', [...both, open('c'), auth('c', 1), tell('a', 0, 1, 'x')]);
add('a newer connection while the older writes', [...both, open('c'), auth('c', 0), tell('a', 0, 1, 'old'), tell('c', 0, 1, 'new')]);
add('the older of two leaves', [...both, open('c'), auth('c', 1), ['close', 'b', 1000], tell('a', 0, 1, 'x')]);
add('the newer of two leaves', [...both, open('c'), auth('c', 1), ['close', 'c', 1000], tell('a', 0, 1, 'x'), open('d'), auth('d', 1)]);
add('the older says again who it is', [...both, open('c'), auth('c', 1), auth('b', 1), tell('a', 0, 1, 'x')]);
add('five connections of one client', [...both, ...['c', 'd', 'e', 'f'].flatMap((name) => [open(name), auth(name, 1)]), tell('a', 0, 1, 'x')]);
add('two strangers', [open('a', 'b'), send('a', 'x'), send('b', 'y')]);
add('two clients on one connection', [open('a', 'b'), auth('b', 1), auth('a', 0), tell('a', 2, 1, 'x')], { channels: [[0, 1], [2, 1]] });
add('comes before its channel is there', [open('a', 'b'), auth('a', 0), auth('b', 2), ['channel', 0, 2], tell('a', 0, 2, 'x')]);

// authorizeAllChannels.
const all = { options: { authorizeAllChannels: true }, channels: [] };
add('all channels: to who is there', [...both, tell('a', 0, 1, 'x')], all);
add('all channels: and back', [...both, tell('a', 0, 1, 'x'), tell('b', 1, 0, 'y')], all);
add('all channels: twice', [...both, tell('a', 0, 1, 'x'), tell('a', 0, 1, 'y')], all);
add('all channels: to who is not there', [open('a'), tell('a', 0, 1, 'x'), open('b'), auth('b', 1)], all);
add('all channels: to who does not exist', [...both, tell('a', 0, 9, 'x'), ...alive], all);
add('all channels: to itself', [open('a'), tell('a', 0, 0, 'x')], all);
add('all channels: to who is registered later', [...both, ['register'], tell('a', 0, 3, 'x'), open('c'), auth('c', 3)], all);
add('all channels: who says not who it is', [...both, open('c'), send('c', relay(1, 'x'))], all);
add('all channels: with one that is registered', [...both, tell('a', 0, 1, 'x')], { ...all, channels: [[0, 1]] });
add('all channels: registered after its first message', [...both, tell('a', 0, 1, 'x'), ['channel', 0, 1]], all);
add('all channels: a target that is no id', [...both, send('a', authentication(0), '{"relay":{"targetId":1.5,"message":"x"}}'), ...alive], all);
add('all channels: a wrong token', [open('a'), send('a', '{"authentication":{"clientId":0,"token":"x"}}')], all);
add('authorizeAllChannels: false', [...both, tell('a', 0, 1, 'x')], { options: { authorizeAllChannels: false }, channels: [] });
add('authorizeAllChannels: undefined', [...both, tell('a', 0, 1, 'x')], { options: { authorizeAllChannels: undefined }, channels: [] });

// Calls of the developer.
for (const [name, ids] of Object.entries({
  'a new channel': [0, 2],
  'the same channel again': [0, 1],
  'the same channel the other way round': [1, 0],
  'to itself': [2, 2],
  'to itself, with a channel to another': [0, 0],
  'to nobody': [0, 9],
  'of nobody': [9, 0],
  'of nobody to nobody': [9, 9],
  'of the next id': [3, 0],
  'of a negative id': [-1, 0],
  'to a fraction': [0, 1.5],
  'of an id as text': ['0', 1],
  'to an id as text': [0, '1'],
  'of null': [null, 1],
  'to null': [0, null],
  'of true': [true, 1],
  'to nothing': [0],
  'of nothing': [],
  'of a list': [[0], 1],
  'to an object': [0, {}],
  'to too large a number': [0, 2 ** 53],
  'with a third argument': [0, 2, 1],
})) {
  add(`registers a channel ${name}`, [['channel', ...ids]]);
}
add('registers a channel to itself twice', [['channel', 2, 2], ['channel', 2, 2]]);
add('registers a channel twice, and it works', [['channel', 0, 1], ...both, tell('a', 0, 1, 'x')]);
add('registers clients', [['register'], ['register'], ['register']], { clients: 0, channels: [] });
add('registers a client while others talk', [...both, tell('a', 0, 1, 'x'), ['register'], tell('b', 1, 0, 'y')]);
add('stops', [['stop']]);
add('stops while clients are there', [...both, ['stop']]);
add('stops while a stranger is there', [open('a'), ['stop']]);
add('stops while messages wait', [open('a'), tell('a', 0, 1, 'x'), ['stop']]);

// WebSocket.
add('a binary frame', [open('a', 'b'), auth('b', 1), ['binary', 'a', authentication(0)]]);
add('a binary frame that is no JSON', [open('a'), ['binary', 'a', 'x']]);
add('a frame in two parts', [...both, ['parts', 'a', '{"relay":{"targetId":1,', '"message":"x"}}'], ...alive]);
add('a frame in many parts', [...both, ['parts', 'a', ...relay(1, 'hello').split('')], ...alive]);
add('a frame with an empty part', [...both, ['parts', 'a', '', relay(1, 'x'), ''], ...alive]);
add('a character split between parts', [...both, ['parts', 'a', '{"relay":{"targetId":1,"message":"', { hex: 'f09f' }, { hex: '9880' }, '"}}'], ...alive]);
add('no UTF-8', [open('a', 'b'), auth('b', 1), ['parts', 'a', { hex: '22ff22' }]]);
add('no UTF-8, split between parts', [open('a', 'b'), auth('b', 1), ['parts', 'a', { hex: '22f09f' }, { hex: '22' }]]);
add('a surrogate in UTF-8', [open('a', 'b'), auth('b', 1), ['parts', 'a', { hex: '22eda08022' }]]);
add('a large frame of a client', [...both, send('a', relay(1, 'x'.repeat(900_000))), ...alive]);
add('a large frame of a stranger', [open('a'), send('a', `{"hello":"${'x'.repeat(20_000)}"}`)]);
add('a frame of two megabytes', [...both, send('a', relay(1, 'x'.repeat(2_000_000)))]);

// Without an 'error' listener.
const deaf = { listens: false };
add('nobody listens: a message', [...both, tell('a', 0, 1, 'x')], deaf);
add('nobody listens: no JSON', [...both, send('a', 'x')], deaf);
add('nobody listens: a frame nobody knows', [...both, send('a', '{}')], deaf);
add('nobody listens: null', [...both, send('a', 'null')], deaf);
add('nobody listens: a wrong token', [open('a'), send('a', '{"authentication":{"clientId":0,"token":"x"}}')], deaf);
add('nobody listens: no authentication', [open('a'), send('a', relay(1, 'x'))], deaf);
add('nobody listens: no channel', [...both, send('a', relay(2, 'x'))], deaf);
add('nobody listens: the second message', [...both, send('a', relay(1, 'x'), relay(1, 'y'))], deaf);
add('nobody listens: a message to who has left', [...both, ['close', 'b', 1000], tell('a', 0, 1, 'x')], deaf);

// Many mistakes.
add('nine mistakes', [open('a'), send('a', ...Array(9).fill('x'))]);
add('ten mistakes', [open('a'), send('a', ...Array(10).fill('x'))]);

export default behaviours;
