CREATE TABLE alembic_version (
	version_num VARCHAR(32) NOT NULL, 
	CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num)
);
CREATE TABLE attempt (
	id INTEGER NOT NULL, 
	job_id INTEGER NOT NULL, 
	generation INTEGER NOT NULL, 
	attempt INTEGER NOT NULL, 
	sender VARCHAR NOT NULL, 
	intent_ms BIGINT NOT NULL, 
	closed_ms BIGINT NOT NULL, 
	why VARCHAR NOT NULL, 
	http_status INTEGER NOT NULL, 
	request_id VARCHAR NOT NULL, 
	run_id VARCHAR NOT NULL, 
	error VARCHAR NOT NULL, 
	detail VARCHAR NOT NULL, 
	lateness_ms INTEGER NOT NULL, 
	PRIMARY KEY (id)
);
CREATE INDEX attempt_job ON attempt (job_id);
CREATE INDEX attempt_told ON attempt (job_id) WHERE why IN ('double', 'noted');
CREATE TABLE batch (
	id INTEGER NOT NULL, 
	name VARCHAR NOT NULL, 
	uid VARCHAR NOT NULL, 
	dialect VARCHAR NOT NULL, 
	base_url VARCHAR NOT NULL, 
	origin INTEGER NOT NULL, 
	options VARCHAR NOT NULL, 
	weight INTEGER NOT NULL, 
	tag VARCHAR NOT NULL, 
	made_ms BIGINT NOT NULL, 
	queued_whole BOOLEAN NOT NULL, 
	look_first BOOLEAN NOT NULL, 
	stopped VARCHAR NOT NULL, 
	blocked_since_ms BIGINT NOT NULL, 
	lateness_ms INTEGER NOT NULL, 
	PRIMARY KEY (id), 
	UNIQUE (name)
);
CREATE TABLE body (
	job_id INTEGER NOT NULL, 
	body BLOB NOT NULL, 
	extra BLOB NOT NULL, 
	PRIMARY KEY (job_id)
);
CREATE TABLE budget (
	id INTEGER NOT NULL, 
	account VARCHAR NOT NULL, 
	kind VARCHAR NOT NULL, 
	step FLOAT NOT NULL, 
	tat FLOAT NOT NULL, 
	closed_until FLOAT NOT NULL, 
	closed_for FLOAT NOT NULL, 
	closed_why VARCHAR NOT NULL, 
	leased_at FLOAT NOT NULL, 
	seq BIGINT NOT NULL, 
	lim FLOAT, 
	win FLOAT, 
	source VARCHAR NOT NULL, 
	others FLOAT NOT NULL, 
	spread FLOAT NOT NULL, 
	opened_at FLOAT NOT NULL, 
	opened_seq BIGINT NOT NULL, 
	cut_at FLOAT NOT NULL, 
	memory TEXT NOT NULL, 
	version BIGINT NOT NULL, 
	PRIMARY KEY (id)
);
CREATE UNIQUE INDEX budget_account ON budget (account, kind);
CREATE TABLE cause (
	batch_id INTEGER NOT NULL, 
	status VARCHAR NOT NULL, 
	code VARCHAR NOT NULL, 
	message TEXT NOT NULL, 
	jobs BIGINT NOT NULL, 
	PRIMARY KEY (batch_id, status, code)
);
CREATE TABLE spent (
	batch_id INTEGER NOT NULL, 
	prompt BIGINT NOT NULL, 
	completion BIGINT NOT NULL, 
	total BIGINT NOT NULL, 
	cached BIGINT NOT NULL, 
	reasoning BIGINT NOT NULL, 
	earlier BIGINT NOT NULL, 
	first_ms BIGINT NOT NULL, 
	last_ms BIGINT NOT NULL, 
	PRIMARY KEY (batch_id)
);
CREATE TABLE meta (
	name VARCHAR NOT NULL, 
	value VARCHAR NOT NULL, 
	PRIMARY KEY (name)
);
CREATE TABLE origin (
	id INTEGER NOT NULL, 
	base_url VARCHAR NOT NULL, 
	proofs VARCHAR NOT NULL, 
	probed_ms BIGINT NOT NULL, 
	PRIMARY KEY (id), 
	UNIQUE (base_url)
);
CREATE TABLE outcome (
	job_id INTEGER NOT NULL, 
	generation INTEGER NOT NULL, 
	status VARCHAR NOT NULL, 
	run_id VARCHAR, 
	run BLOB, 
	error TEXT, 
	http_status INTEGER NOT NULL, 
	request_id VARCHAR NOT NULL, 
	prompt_tokens BIGINT, 
	completion_tokens BIGINT, 
	total_tokens BIGINT, 
	cached_tokens BIGINT, 
	reasoning_tokens BIGINT, 
	messages BLOB, 
	steps BLOB, 
	deltas BLOB, 
	output_text TEXT, 
	attempts INTEGER NOT NULL, 
	created_ms BIGINT NOT NULL, 
	ended_ms BIGINT NOT NULL, 
	PRIMARY KEY (job_id, generation)
);
CREATE TABLE output (
	job_id INTEGER NOT NULL, 
	generation INTEGER NOT NULL, 
	call_id VARCHAR NOT NULL, 
	output TEXT NOT NULL, 
	PRIMARY KEY (job_id, generation, call_id)
);
CREATE TABLE tally (
	batch_id INTEGER NOT NULL, 
	state INTEGER NOT NULL, 
	status VARCHAR NOT NULL, 
	jobs BIGINT NOT NULL, 
	PRIMARY KEY (batch_id, state, status)
);
CREATE TABLE worker (
	id VARCHAR NOT NULL, 
	host VARCHAR NOT NULL, 
	boot VARCHAR NOT NULL, 
	pid INTEGER NOT NULL, 
	version VARCHAR NOT NULL, 
	lock VARCHAR NOT NULL, 
	started_ms BIGINT NOT NULL, 
	clock_beat_ms BIGINT NOT NULL, 
	taken INTEGER NOT NULL, 
	running INTEGER NOT NULL, 
	wanting INTEGER NOT NULL, 
	accounts VARCHAR NOT NULL, 
	batches VARCHAR NOT NULL, lease_ms BIGINT DEFAULT '30000' NOT NULL, 
	PRIMARY KEY (id)
);
CREATE TABLE job (
	id INTEGER NOT NULL, 
	batch_id INTEGER NOT NULL, 
	custom_id VARCHAR NOT NULL, 
	source_id INTEGER NOT NULL, 
	line BIGINT NOT NULL, 
	digest BLOB NOT NULL, 
	origin INTEGER NOT NULL, 
	thread_id VARCHAR, 
	own_thread SMALLINT NOT NULL, 
	lane SMALLINT NOT NULL, 
	state SMALLINT NOT NULL, 
	status VARCHAR, 
	blocked SMALLINT NOT NULL, 
	worker VARCHAR, 
	token INTEGER NOT NULL, 
	generation INTEGER NOT NULL, 
	attempt INTEGER NOT NULL, 
	refusals INTEGER NOT NULL, 
	doubted SMALLINT NOT NULL, 
	presumed SMALLINT NOT NULL, 
	slow_close SMALLINT NOT NULL, 
	cancel_asked SMALLINT NOT NULL, 
	clock_not_before_ms BIGINT NOT NULL, 
	clock_closed_ms BIGINT NOT NULL, 
	intent_ms BIGINT NOT NULL, 
	first_intent_ms BIGINT NOT NULL, 
	queued_ms BIGINT NOT NULL, 
	created_ms BIGINT NOT NULL, 
	ended_ms BIGINT NOT NULL, 
	run_id VARCHAR, 
	sender VARCHAR, 
	blocked_by VARCHAR, 
	possible_double SMALLINT NOT NULL, idle_state SMALLINT GENERATED ALWAYS AS (CASE WHEN worker IS NULL THEN state ELSE -1 END) VIRTUAL, 
	PRIMARY KEY (id), 
	FOREIGN KEY(batch_id) REFERENCES batch (id)
);
CREATE INDEX job_asked ON job (worker, cancel_asked) WHERE cancel_asked = 1 AND worker IS NOT NULL;
CREATE INDEX job_foreign ON job (batch_id) WHERE blocked_by IS NOT NULL;
CREATE INDEX job_resent ON job (batch_id) WHERE possible_double > 0;
CREATE INDEX job_line ON job (batch_id, source_id, line);
CREATE UNIQUE INDEX job_name ON job (batch_id, custom_id);
CREATE INDEX job_next ON job (origin, thread_id, id) WHERE blocked = 1;
CREATE INDEX job_worker ON job (worker) WHERE worker IS NOT NULL;
CREATE TABLE lane (
	id INTEGER NOT NULL, 
	batch_id INTEGER NOT NULL, 
	number INTEGER NOT NULL, 
	name VARCHAR NOT NULL, 
	PRIMARY KEY (id), 
	FOREIGN KEY(batch_id) REFERENCES batch (id)
);
CREATE UNIQUE INDEX lane_batch ON lane (batch_id, number);
CREATE TABLE source (
	id INTEGER NOT NULL, 
	batch_id INTEGER NOT NULL, 
	path VARCHAR NOT NULL, 
	identity VARCHAR NOT NULL, 
	lines BIGINT NOT NULL, 
	bad INTEGER NOT NULL, 
	conflicts INTEGER NOT NULL, 
	vanished INTEGER NOT NULL, 
	queued_ms BIGINT NOT NULL, 
	PRIMARY KEY (id), 
	FOREIGN KEY(batch_id) REFERENCES batch (id)
);
CREATE UNIQUE INDEX source_batch ON source (batch_id, path);
CREATE INDEX job_ready ON job (batch_id, lane, id) WHERE idle_state = 0 AND blocked = 0 AND clock_not_before_ms = 0;
CREATE INDEX job_later ON job (batch_id, clock_not_before_ms) WHERE idle_state = 0 AND clock_not_before_ms > 0;
CREATE INDEX job_turn ON job (origin, thread_id) WHERE idle_state < 3 AND blocked = 0 AND own_thread = 0;
CREATE INDEX job_adrift ON job (batch_id, id) WHERE idle_state IN (1, 2);
CREATE INDEX job_ended ON job (batch_id, ended_ms, id) WHERE idle_state >= 3;
CREATE INDEX job_doubt ON job (batch_id) WHERE idle_state < 3 AND clock_closed_ms > 0;
INSERT INTO alembic_version (version_num) VALUES ('0003')
