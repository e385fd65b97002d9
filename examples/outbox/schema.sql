-- The outbox: messages that a transaction decides about, until ingest has accepted them.
CREATE TABLE IF NOT EXISTS outbox (
    position   bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,  -- the order in which they are sent
    id         uuid NOT NULL DEFAULT gen_random_uuid(),          -- of the message: a repeat after a crash is the same message
    subject    text NOT NULL,
    url        text NOT NULL,
    content    jsonb,
    created_at timestamptz NOT NULL DEFAULT now()
);

-- Messages that ingest refuses, with its reason: a person corrects them and puts them into the outbox again.
CREATE TABLE IF NOT EXISTS outbox_refused (
    position bigint PRIMARY KEY,
    id       uuid NOT NULL,
    subject  text NOT NULL,
    url      text NOT NULL,
    content  jsonb,
    status   integer NOT NULL,
    reason   text NOT NULL
);
