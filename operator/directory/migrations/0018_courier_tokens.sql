-- Webhooks and commands of a forward are told apart by what they are, no longer by their place: mail that is tried again
-- after the list was put into another order goes where it went before.

-- Names a target among those of its forward. How long it may take is no part of what it is.
CREATE FUNCTION posthorn.courier_key(target jsonb) RETURNS text
    LANGUAGE sql IMMUTABLE AS $$
    SELECT left(encode(sha256(convert_to(
        (target #- '{webhook,timeoutSeconds}' #- '{command,timeoutSeconds}')::text, 'UTF8')), 'hex'), 16)
$$;

-- Key of a target that was edited → key of what it is now.
ALTER TABLE posthorn.forwards ADD COLUMN edited jsonb NOT NULL DEFAULT '{}';

CREATE FUNCTION posthorn.courier_kind(target jsonb) RETURNS text
    LANGUAGE sql IMMUTABLE AS $$
    SELECT CASE WHEN target ? 'webhook' THEN 'webhook' WHEN target ? 'command' THEN 'command' END
$$;

CREATE FUNCTION posthorn.courier_keys(couriers jsonb) RETURNS text[]
    LANGUAGE sql IMMUTABLE AS $$
    SELECT coalesce(array_agg(posthorn.courier_key(t.target) ORDER BY t.place), '{}')
    FROM jsonb_array_elements(couriers) WITH ORDINALITY AS t (target, place)
$$;

-- Somebody who corrects a URL, or gives a command a newer image, wants what waits to go there. Beyond doubt only when
-- nothing else about the list has changed: one has gone, and one of its kind has come in its place. Whatever else has gone
-- has its mail wait until it comes back.
CREATE FUNCTION posthorn.note_edited_courier() RETURNS trigger
    LANGUAGE plpgsql AS $$
DECLARE
    before text[] := posthorn.courier_keys(OLD.couriers);
    after  text[] := posthorn.courier_keys(NEW.couriers);
    places integer[];
    place  integer;
BEGIN
    NEW.edited := NEW.edited - after;
    IF cardinality(before) = cardinality(after) THEN
        places := ARRAY(SELECT i FROM generate_subscripts(before, 1) i WHERE before[i] <> after[i]);
        place := places[1];
        IF cardinality(places) = 1 AND before[place] <> ALL (after) AND after[place] <> ALL (before)
            AND posthorn.courier_kind(OLD.couriers -> place - 1) = posthorn.courier_kind(NEW.couriers -> place - 1) THEN
            NEW.edited := jsonb_build_object(before[place], after[place]) || coalesce((
                SELECT jsonb_object_agg(e.key, CASE WHEN e.value = before[place] THEN after[place] ELSE e.value END)
                FROM jsonb_each_text(NEW.edited) e), '{}');
        END IF;
    END IF;
    RETURN NEW;
END
$$;
CREATE TRIGGER note_edited_courier BEFORE UPDATE OF couriers ON posthorn.forwards
    FOR EACH ROW WHEN (NEW.couriers <> OLD.couriers) EXECUTE FUNCTION posthorn.note_edited_courier();

-- As in 0008. A webhook or command is RULEUID.KEY@courier.invalid; one that is not allowed is none.
CREATE OR REPLACE FUNCTION posthorn.destinations(rule text) RETURNS TABLE (destination text, inside boolean)
    LANGUAGE sql STABLE AS $$
    SELECT t, EXISTS (SELECT FROM posthorn.domains d WHERE d.domain = split_part(t, '@', -1))
    FROM posthorn.forwards f CROSS JOIN unnest(f.targets) t WHERE f.uid = rule AND NOT posthorn.invalid(t)
    UNION ALL
    SELECT DISTINCT format('%s.%s@courier.invalid', f.uid, posthorn.courier_key(t)), false
    FROM posthorn.forwards f CROSS JOIN jsonb_array_elements(f.couriers) t
    WHERE f.uid = rule AND NOT t ? 'refused'
    UNION ALL
    SELECT main.address, true
    FROM posthorn.forwards f
    JOIN posthorn.mailboxes m ON m.object_namespace = f.object_namespace AND m.object_name = f.keep_copy
    JOIN posthorn.addresses main ON main.mailbox = m.uuid AND main.kind = 'mailbox'
    WHERE f.uid = rule AND m.deleted_at IS NULL
$$;

-- What a key stands for; also the place, counted from 0, that releases before wrote into their queues.
CREATE FUNCTION posthorn.courier_of(f posthorn.forwards, named text) RETURNS jsonb
    LANGUAGE plpgsql STABLE AS $$
DECLARE
    keys text[] := posthorn.courier_keys(f.couriers);
BEGIN
    IF length(named) <= 4 THEN
        RETURN f.couriers -> named::integer;
    END IF;
    RETURN f.couriers -> coalesce(array_position(keys, named), array_position(keys, f.edited ->> named)) - 1;
END
$$;

-- As in 0008. NULL: nothing ever. For what is gone it raises: that mail waits.
CREATE OR REPLACE FUNCTION directory_v1.courier_target(token text) RETURNS jsonb
    LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    part   text[] := regexp_match(token, '^(.+)\.([0-9]{1,4}|[0-9a-f]{16})$');
    target jsonb;
BEGIN
    SELECT jsonb_build_object(
        'rule', jsonb_build_object('namespace', f.object_namespace, 'name', f.object_name, 'uid', f.uid),
        'address', a.address, 'target', posthorn.courier_of(f, part[2]))
    INTO target
    FROM posthorn.forwards f JOIN posthorn.addresses a ON a.forward = f.uid
    WHERE f.uid = part[1] AND posthorn.courier_of(f, part[2]) IS NOT NULL;
    IF target IS NULL AND part IS NOT NULL THEN
        PERFORM posthorn.require_fresh(token);
        RAISE EXCEPTION '<%>: this target, or its forward, is gone', posthorn.printable(token)
            USING ERRCODE = 'object_not_in_prerequisite_state';
    END IF;
    RETURN target;
END
$$;

REVOKE ALL ON ALL FUNCTIONS IN SCHEMA posthorn, directory_v1 FROM PUBLIC;
