PRAGMA application_id = 1667788651;
PRAGMA user_version = 1;
BEGIN TRANSACTION;
CREATE TABLE attempts (
    delivery INTEGER NOT NULL,
    number INTEGER NOT NULL,
    document TEXT NOT NULL,
    PRIMARY KEY (delivery, number)
) WITHOUT ROWID;
INSERT INTO "attempts" VALUES(1,1,'{"number": 1, "started_at": "2026-01-01T12:00:11+00:00", "duration": 0.25, "method": "", "url": "https://chat.example/", "headers": {}, "status": 200, "response_headers": {}, "response_body": "ok", "error_class": null, "error": null, "note": null, "address": null}');
INSERT INTO "attempts" VALUES(2,1,'{"number": 1, "started_at": "2026-01-01T12:00:11+00:00", "duration": 0.25, "method": "", "url": "https://chat.example/", "headers": {}, "status": null, "response_headers": {}, "response_body": "", "error_class": "timeout", "error": "the deadline passed", "note": null, "address": null}');
INSERT INTO "attempts" VALUES(3,1,'{"number": 1, "started_at": "2026-01-01T12:00:11+00:00", "duration": 0.25, "method": "", "url": "https://chat.example/", "headers": {}, "status": 500, "response_headers": {}, "response_body": "", "error_class": "status", "error": "answered 500", "note": null, "address": null}');
INSERT INTO "attempts" VALUES(4,1,'{"number": 1, "started_at": "2026-01-01T12:00:11+00:00", "duration": 0.25, "method": "", "url": "https://chat.example/", "headers": {}, "status": 500, "response_headers": {}, "response_body": "", "error_class": "status", "error": "answered 500", "note": null, "address": null}');
INSERT INTO "attempts" VALUES(4,2,'{"number": 2, "started_at": "2026-01-01T12:00:12+00:00", "duration": 0.25, "method": "", "url": "https://chat.example/", "headers": {}, "status": 200, "response_headers": {}, "response_body": "", "error_class": null, "error": null, "note": null, "address": null}');
CREATE TABLE counts (status TEXT PRIMARY KEY, count INTEGER NOT NULL) WITHOUT ROWID;
INSERT INTO "counts" VALUES('delivered',2);
INSERT INTO "counts" VALUES('delivering',1);
INSERT INTO "counts" VALUES('failed',1);
INSERT INTO "counts" VALUES('pending',2);
INSERT INTO "counts" VALUES('skipped',1);
CREATE TABLE deliveries (
    number INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    webhook TEXT NOT NULL,
    event TEXT NOT NULL,
    model TEXT NOT NULL,
    payload INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    due_at INTEGER NOT NULL,
    recorded_at INTEGER NOT NULL,
    lease_until INTEGER,
    status TEXT NOT NULL,
    attempt_number INTEGER NOT NULL,
    attempts INTEGER NOT NULL,
    error_class TEXT,
    body TEXT,
    body_is_payload INTEGER NOT NULL,
    reason TEXT NOT NULL,
    revision INTEGER NOT NULL
);
INSERT INTO "deliveries" VALUES(1,'msg_1','chat','updated','site',1,1767268801000000,1767268801000000,1767268811000000,NULL,'delivered',1,1,NULL,NULL,1,'',2);
INSERT INTO "deliveries" VALUES(2,'msg_2','audit','updated','site',1,1767268802000000,1767268802000000,1767268811000000,NULL,'failed',1,1,'timeout','{"text": "other"}',0,'gave up after 1 attempt: timeout',2);
INSERT INTO "deliveries" VALUES(3,'msg_3','chat','created','site',2,1767268803000000,1767272400000000,1767268811000000,NULL,'pending',1,1,'status',NULL,1,'status 500',2);
INSERT INTO "deliveries" VALUES(4,'msg_4','chat','created','site',3,1767268804000000,1767268810000000,1767268812000000,NULL,'delivered',2,2,NULL,NULL,1,'',4);
INSERT INTO "deliveries" VALUES(5,'msg_5','audit','created','site',4,1767268805000000,1767268805000000,1767268805000000,1767269110000000,'delivering',1,0,NULL,NULL,0,'',1);
INSERT INTO "deliveries" VALUES(6,'msg_6','off','created','site',5,1767268806000000,1767268806000000,1767268806000000,NULL,'skipped',1,0,NULL,NULL,0,'the webhook is disabled',2);
INSERT INTO "deliveries" VALUES(7,'msg_7','audit','created','site',6,1767268807000000,1767268807000000,1767268807000000,NULL,'pending',0,0,NULL,NULL,0,'',0);
CREATE TABLE disabled (
    webhook TEXT PRIMARY KEY,
    reason TEXT NOT NULL,
    at INTEGER NOT NULL
) WITHOUT ROWID;
INSERT INTO "disabled" VALUES('off','410',1767268800000000);
CREATE TABLE outcomes (
    hour INTEGER NOT NULL,
    webhook TEXT NOT NULL,
    outcome TEXT NOT NULL,
    count INTEGER NOT NULL,
    seconds REAL NOT NULL,
    slowest REAL NOT NULL,
    PRIMARY KEY (hour, webhook, outcome)
) WITHOUT ROWID;
INSERT INTO "outcomes" VALUES(1767268800000000,'audit','failed',1,0.25,0.25);
INSERT INTO "outcomes" VALUES(1767268800000000,'chat','delivered',2,0.5,0.25);
INSERT INTO "outcomes" VALUES(1767268800000000,'chat','retried',2,0.5,0.25);
INSERT INTO "outcomes" VALUES(1767268800000000,'off','skipped',1,0.0,0.0);
CREATE TABLE payloads (id INTEGER PRIMARY KEY, text TEXT NOT NULL);
INSERT INTO "payloads" VALUES(1,'{"event":"updated","data":{"name":"O''Hare; -- \u0000"}}');
INSERT INTO "payloads" VALUES(2,'{"event":"created","data":{"name":"Zürich 3"}}');
INSERT INTO "payloads" VALUES(3,'{"event":"created","data":{"name":"Zürich 4"}}');
INSERT INTO "payloads" VALUES(4,'{"event":"created","data":{"name":"Zürich 5"}}');
INSERT INTO "payloads" VALUES(5,'{"event":"created","data":{"name":"Zürich 6"}}');
INSERT INTO "payloads" VALUES(6,'{"event":"created","data":{"name":"Zürich 7"}}');
CREATE TABLE tallies (
    webhook TEXT PRIMARY KEY,
    matched INTEGER NOT NULL,
    not_matched INTEGER NOT NULL,
    unresolvable INTEGER NOT NULL,
    reason TEXT NOT NULL,
    reason_at INTEGER
) WITHOUT ROWID;
INSERT INTO "tallies" VALUES('chat',4,0,0,'a is: no match',1767268800000000);
CREATE TABLE workers (
    worker TEXT PRIMARY KEY,
    host TEXT NOT NULL,
    pid INTEGER NOT NULL,
    threads INTEGER NOT NULL,
    busy INTEGER NOT NULL,
    started_at INTEGER NOT NULL,
    seen_at INTEGER NOT NULL
) WITHOUT ROWID;
INSERT INTO "workers" VALUES('w','h',1,2,1,1767268800000000,1767268800000000);
CREATE INDEX due ON deliveries (attempts > 0, due_at) WHERE status = 'pending';
CREATE INDEX due_by_webhook ON deliveries (webhook, attempts > 0, due_at) WHERE status = 'pending';
CREATE INDEX recorded ON deliveries (recorded_at) WHERE status = 'pending';
CREATE INDEX leased ON deliveries (lease_until) WHERE status = 'delivering';
CREATE INDEX failing ON deliveries (created_at) WHERE status = 'pending' AND attempt_number > 0;
CREATE INDEX newest ON deliveries (created_at);
CREATE INDEX newest_by_status ON deliveries (status, created_at);
CREATE INDEX newest_by_webhook ON deliveries (webhook, created_at);
CREATE INDEX newest_by_model ON deliveries (model, created_at);
CREATE INDEX newest_by_error ON deliveries (error_class, created_at) WHERE error_class IS NOT NULL;
CREATE INDEX by_payload ON deliveries (payload);
COMMIT;
