-- What all migrations make of an empty file, for new journals.
CREATE TABLE alembic_version (
  version_num VARCHAR(32) NOT NULL,
  CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num)
);
CREATE TABLE owners (
  id TEXT NOT NULL,
  lease_until BIGINT NOT NULL,
  PRIMARY KEY (id)
);
CREATE TABLE calls (
  id TEXT NOT NULL,
  principal TEXT NOT NULL,
  tool TEXT NOT NULL,
  network TEXT NOT NULL,
  request_hash TEXT NOT NULL,
  request TEXT DEFAULT '' NOT NULL,
  idempotency_key TEXT DEFAULT '' NOT NULL,
  key_slot TEXT,
  status TEXT NOT NULL,
  stage TEXT NOT NULL,
  hold TEXT DEFAULT 'none' NOT NULL,
  owner TEXT NOT NULL,
  lane TEXT DEFAULT '' NOT NULL,
  account_network TEXT DEFAULT '' NOT NULL,
  account_address TEXT DEFAULT '' NOT NULL,
  chain_id TEXT DEFAULT '' NOT NULL,
  nonce BIGINT,
  transaction_hashes TEXT DEFAULT '' NOT NULL,
  max_fee_wei TEXT DEFAULT '0' NOT NULL,
  fee_wei TEXT DEFAULT '0' NOT NULL,
  max_opg TEXT DEFAULT '0' NOT NULL,
  amount_opg TEXT DEFAULT '0' NOT NULL,
  error TEXT DEFAULT '' NOT NULL,
  result TEXT DEFAULT '' NOT NULL,
  result_hash TEXT DEFAULT '' NOT NULL,
  receipt TEXT DEFAULT '' NOT NULL,
  created_at BIGINT NOT NULL,
  updated_at BIGINT NOT NULL,
  settled_at BIGINT,
  delivered_at BIGINT,
  joinable BOOLEAN GENERATED ALWAYS AS (status IN ('running', 'waiting_approval') OR (delivered_at IS NULL AND (status = 'done' OR stage <> 'not_sent'))) STORED,
  charged BOOLEAN GENERATED ALWAYS AS (stage = 'charged') STORED,
  cap_id TEXT,
  cap_status TEXT DEFAULT '' NOT NULL,
  model TEXT DEFAULT '' NOT NULL,
  first_words TEXT DEFAULT '' NOT NULL,
  declined_at BIGINT,
  superseded_by TEXT DEFAULT '' NOT NULL,
  active BOOLEAN GENERATED ALWAYS AS (status = 'running' OR hold IN ('signed', 'settled', 'superseded', 'released')) VIRTUAL,
  in_doubt BOOLEAN GENERATED ALWAYS AS (status = 'failed' AND stage = 'sent_unknown' AND (hold IN ('signed', 'superseded') OR cap_status = 'open')) VIRTUAL,
  PRIMARY KEY (id)
);
CREATE INDEX calls_by_principal ON calls (principal, created_at, id);
CREATE UNIQUE INDEX calls_by_key ON calls (principal, tool, key_slot) WHERE key_slot IS NOT NULL;
CREATE UNIQUE INDEX calls_joinable ON calls (principal, tool, network, request_hash, idempotency_key) WHERE joinable = 1;
CREATE INDEX calls_charged ON calls (lane, created_at) WHERE charged = 1;
CREATE TABLE transactions (
  call_id TEXT NOT NULL,
  hash TEXT NOT NULL,
  nonce BIGINT NOT NULL,
  raw TEXT NOT NULL,
  max_fee_wei TEXT NOT NULL,
  created_at BIGINT NOT NULL,
  PRIMARY KEY (call_id, hash)
);
CREATE TABLE lanes (
  id TEXT NOT NULL,
  network TEXT NOT NULL,
  chain_id TEXT NOT NULL,
  address TEXT NOT NULL,
  next_nonce BIGINT,
  epoch BIGINT DEFAULT '0' NOT NULL,
  window_wei TEXT DEFAULT '0' NOT NULL,
  window_floor BIGINT DEFAULT '0' NOT NULL,
  PRIMARY KEY (id)
);
CREATE TABLE spending (
  lane TEXT NOT NULL,
  principal TEXT NOT NULL,
  bucket BIGINT NOT NULL,
  fee_wei TEXT NOT NULL,
  PRIMARY KEY (lane, principal, bucket)
);
CREATE INDEX spending_by_principal ON spending (principal);
CREATE TABLE approvals (
  call_id TEXT NOT NULL,
  asked TEXT NOT NULL,
  approved TEXT DEFAULT '' NOT NULL,
  taken_by TEXT DEFAULT '' NOT NULL,
  PRIMARY KEY (call_id)
);
CREATE INDEX calls_by_cap ON calls (cap_id) WHERE cap_id IS NOT NULL;
CREATE TABLE caps (
  id TEXT NOT NULL,
  lane TEXT NOT NULL,
  account_network TEXT NOT NULL,
  account_address TEXT NOT NULL,
  chain_id TEXT NOT NULL,
  principal TEXT NOT NULL,
  resource TEXT NOT NULL,
  asset TEXT NOT NULL,
  pay_to TEXT NOT NULL,
  max_opg TEXT NOT NULL,
  nonce TEXT NOT NULL,
  deadline BIGINT NOT NULL,
  opened_by TEXT NOT NULL,
  status TEXT NOT NULL,
  amount_opg TEXT DEFAULT '0' NOT NULL,
  transaction_hash TEXT DEFAULT '' NOT NULL,
  created_at BIGINT NOT NULL,
  ended_at BIGINT,
  is_open BOOLEAN GENERATED ALWAYS AS (status = 'open') STORED,
  facilitator TEXT DEFAULT '' NOT NULL,
  cancelled_at BIGINT,
  PRIMARY KEY (id)
);
CREATE INDEX caps_open ON caps (lane) WHERE is_open = 1;
CREATE INDEX caps_by_call ON caps (opened_by);
CREATE UNIQUE INDEX caps_by_nonce ON caps (lane, nonce);
CREATE TABLE payments (
  call_id TEXT NOT NULL,
  cap_id TEXT NOT NULL,
  paid_at BIGINT NOT NULL,
  told_opg TEXT DEFAULT '' NOT NULL,
  PRIMARY KEY (call_id, cap_id)
);
CREATE INDEX payments_by_cap ON payments (cap_id);
CREATE TABLE purses (
  id TEXT NOT NULL,
  epoch BIGINT DEFAULT '0' NOT NULL,
  window_opg TEXT DEFAULT '0' NOT NULL,
  window_floor BIGINT DEFAULT '0' NOT NULL,
  PRIMARY KEY (id)
);
CREATE TABLE opg_spending (
  lane TEXT NOT NULL,
  principal TEXT NOT NULL,
  bucket BIGINT NOT NULL,
  amount_opg TEXT NOT NULL,
  PRIMARY KEY (lane, principal, bucket)
);
CREATE INDEX opg_spending_by_principal ON opg_spending (principal);
CREATE TABLE notes (
  name TEXT NOT NULL,
  sealed TEXT NOT NULL,
  PRIMARY KEY (name)
);
CREATE INDEX calls_declined ON calls (principal, tool, network, request_hash) WHERE declined_at IS NOT NULL;
CREATE INDEX calls_active ON calls (lane) WHERE active = 1;
CREATE INDEX calls_in_doubt ON calls (principal, tool, network, request_hash) WHERE in_doubt = 1;
CREATE INDEX caps_by_deadline ON caps (lane, deadline);
INSERT INTO alembic_version VALUES ('0007');
