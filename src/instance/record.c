/* SPDX-License-Identifier: Apache-2.0 */
#include "instance/record.h"

#include <errno.h>
#include <string.h>

#include "base/file.h"
#include "codec/json.h"

#define RECORD_MAX_BYTES ((size_t)256 * 1024)

static const char *const state_names[] = {
	[RECORD_STARTING] = "starting", [RECORD_RUNNING] = "running", [RECORD_PAUSED] = "paused",
	[RECORD_EXITED] = "exited",	[RECORD_FAILED] = "failed",
};

static const char *const health_names[] = {
	[RECORD_HEALTH_NONE] = "none",
	[RECORD_HEALTH_STARTING] = "starting",
	[RECORD_HEALTH_HEALTHY] = "healthy",
	[RECORD_HEALTH_UNHEALTHY] = "unhealthy",
};

static const char *const start_names[] = { "boot", "restore" };

/* how the data disk was copied */
static const char *const copy_names[] = { "sparse", "reflink" };

static const char *const purpose_names[] = {
	[RECORD_FOR_USER] = "user",
	[RECORD_FOR_CAPTURE] = "capture",
	[RECORD_FOR_CHECK] = "check",
};

const char *record_state_name(enum record_state state)
{
	return state_names[state];
}

const char *record_health_name(enum record_health health)
{
	return health_names[health];
}

/* The index of a member's text among the names. */
static int get_choice(const struct json_at *root, const char *key, const char *const *names,
		      size_t n, size_t *ret, struct mvm_error *err)
{
	AUTO_FREE char *text = NULL;
	int r = json_get_string(root, key, JSON_REQUIRED, &text, err);
	if (r < 0)
		return r;
	for (size_t i = 0; i < n; i++) {
		if (strcmp(text, names[i]) == 0) {
			*ret = i;
			return 0;
		}
	}
	return json_error(root, key, err, "'%s' is not known", text);
}

static int get_choices(const struct json_at *root, struct record *ret, struct mvm_error *err)
{
	size_t state = 0, start = 0, purpose = 0, health = 0;
	int r = get_choice(root, "state", state_names, MVM_ARRAY_SIZE(state_names), &state, err);
	if (r >= 0)
		r = get_choice(root, "start", start_names, MVM_ARRAY_SIZE(start_names), &start,
			       err);
	if (r >= 0)
		r = get_choice(root, "purpose", purpose_names, MVM_ARRAY_SIZE(purpose_names),
			       &purpose, err);
	if (r >= 0)
		r = get_choice(root, "health", health_names, MVM_ARRAY_SIZE(health_names), &health,
			       err);
	ret->health = (enum record_health)health;
	ret->state = (enum record_state)state;
	ret->restore = start != 0;
	ret->purpose = (enum record_purpose)purpose;
	return r;
}

static int get_forward(const struct json_at *at, struct vmm_forward *ret, struct mvm_error *err)
{
	AUTO_FREE char *protocol = NULL;
	AUTO_FREE char *address = NULL;
	uint64_t host_port = 0, guest_port = 0;

	int r = json_get_string(at, "protocol", JSON_REQUIRED, &protocol, err);
	if (r >= 0)
		r = json_get_string(at, "host_address", JSON_REQUIRED, &address, err);
	if (r >= 0)
		r = json_get_u64(at, "host_port", 1, 65535, JSON_REQUIRED, &host_port, err);
	if (r >= 0)
		r = json_get_u64(at, "guest_port", 1, 65535, JSON_REQUIRED, &guest_port, err);
	if (r < 0)
		return r;
	if (strlen(address) >= sizeof(ret->host_address))
		return json_error(at, "host_address", err, "not an address");
	ret->udp = str_eq(protocol, "udp");
	(void)snprintf(ret->host_address, sizeof(ret->host_address), "%s", address);
	ret->host_port = (uint16_t)host_port;
	ret->guest_port = (uint16_t)guest_port;
	return 0;
}

static int get_forwards(const struct json_at *root, struct record *ret, struct mvm_error *err)
{
	struct json_at list, item;
	int r = json_get_array(root, "forwards", JSON_REQUIRED, &list, err);
	if (r < 0)
		return r;
	size_t n = json_array_size(list.value);
	if (n > RECORD_FORWARDS_MAX)
		return json_error(root, "forwards", err, "more than %u", RECORD_FORWARDS_MAX);
	for (size_t i = 0; i < n; i++) {
		json_item(&list, i, &item);
		r = get_forward(&item, &ret->forwards[i], err);
		if (r < 0)
			return r;
	}
	ret->n_forwards = n;
	return 0;
}

static int get_stages(const struct json_at *root, struct record *ret, struct mvm_error *err)
{
	struct json_at stages;
	int r = json_get_object(root, "stages_ns", JSON_OPTIONAL, &stages, err);
	if (r <= 0)
		return r;

	const char *name;
	json_t *value;
	json_object_foreach(stages.value, name, value)
	{
		struct record_stage *s = &ret->stages[ret->n_stages];
		if (ret->n_stages == RECORD_STAGES_MAX || strlen(name) >= sizeof(s->name) ||
		    !json_is_integer(value))
			return json_error(&stages, name, err, "not a stage");
		(void)snprintf(s->name, sizeof(s->name), "%s", name);
		s->ns = json_integer_value(value);
		ret->n_stages++;
	}
	return 0;
}

static int get_strings(const struct json_at *root, struct record *ret, struct mvm_error *err)
{
	const struct {
		const char *key;
		char **to;
		enum json_presence presence;
	} strings[] = {
		{ "name", &ret->name, JSON_REQUIRED },
		{ "template_id", &ret->template_id, JSON_REQUIRED },
		{ "revision_hash", &ret->revision, JSON_REQUIRED },
		{ "backend", &ret->backend, JSON_REQUIRED },
		{ "backend_version", &ret->backend_version, JSON_NULLABLE },
		{ "accelerator", &ret->accelerator, JSON_NULLABLE },
		{ "reason", &ret->reason, JSON_NULLABLE },
		{ "boot_args", &ret->cmdline, JSON_REQUIRED },
		{ "created_at", &ret->created_at, JSON_REQUIRED },
		{ "started_at", &ret->started_at, JSON_NULLABLE },
		{ "ended_at", &ret->ended_at, JSON_NULLABLE },
		{ "hostname", &ret->hostname, JSON_NULLABLE },
		{ "machine_id", &ret->machine_id, JSON_NULLABLE },
		{ "error", &ret->error, JSON_NULLABLE },
		{ "boot_id", &ret->boot_id, JSON_NULLABLE },
		{ "expires_at", &ret->expires_at, JSON_NULLABLE },
		{ "health_message", &ret->health_message, JSON_NULLABLE },
		{ "cgroup", &ret->cgroup, JSON_NULLABLE },
		{ "cgroup_limits", &ret->cgroup_limits, JSON_NULLABLE },
	};
	for (size_t i = 0; i < MVM_ARRAY_SIZE(strings); i++) {
		int r = json_get_string(root, strings[i].key, strings[i].presence, strings[i].to,
					err);
		if (r < 0)
			return r;
	}
	return 0;
}

static int get_wishes(const struct json_at *root, struct record *ret, uint64_t *ttl_ms,
		      uint64_t *restarts, struct mvm_error *err)
{
	int r = json_get_u64(root, "log_max_bytes", 0, JSON_U64_MAX, JSON_REQUIRED,
			     &ret->log_max_bytes, err);
	if (r >= 0)
		r = json_get_u64(root, "ttl_ms", 0, INT64_MAX, JSON_REQUIRED, ttl_ms, err);
	if (r >= 0)
		r = json_get_u64(root, "restarts", 0, UINT32_MAX, JSON_REQUIRED, restarts, err);
	if (r >= 0)
		r = json_get_bool(root, "restart_on_failure", JSON_REQUIRED,
				  &ret->restart_on_failure, err);
	if (r >= 0)
		r = json_get_bool(root, "remove_at_end", JSON_REQUIRED, &ret->remove_at_end, err);
	return r;
}

static int get_numbers(const struct json_at *root, struct record *ret, struct mvm_error *err)
{
	uint64_t vcpus = 0, mem_mib = 0, supervisor_pid = 0, vmm_pid = 0, ttl_ms = 0, restarts = 0;
	int r = json_get_u64(root, "vcpus", 1, 255, JSON_REQUIRED, &vcpus, err);
	if (r >= 0)
		r = json_get_u64(root, "mem_mib", 1, UINT32_MAX, JSON_REQUIRED, &mem_mib, err);
	if (r >= 0)
		r = json_get_u64(root, "supervisor_pid", 0, INT32_MAX, JSON_OPTIONAL,
				 &supervisor_pid, err);
	if (r >= 0)
		r = json_get_u64(root, "vmm_pid", 0, INT32_MAX, JSON_OPTIONAL, &vmm_pid, err);
	if (r >= 0)
		r = json_get_bool(root, "attached", JSON_REQUIRED, &ret->attached, err);
	if (r >= 0)
		r = get_wishes(root, ret, &ttl_ms, &restarts, err);
	ret->ttl_ms = (int64_t)ttl_ms;
	ret->restarts = (unsigned)restarts;
	ret->vcpus = (unsigned)vcpus;
	ret->mem_mib = (uint32_t)mem_mib;
	ret->supervisor_pid = (int64_t)supervisor_pid;
	ret->vmm_pid = (int64_t)vmm_pid;
	return r;
}

static int get_data_disk(const struct json_at *root, struct record *ret, struct mvm_error *err)
{
	struct json_at disk;
	uint64_t mib = 0;
	size_t copy = 0;
	int r = json_get_object(root, "data_disk", JSON_OPTIONAL, &disk, err);
	if (r <= 0)
		return r;
	r = json_get_u64(&disk, "size_mib", 1, UINT32_MAX, JSON_REQUIRED, &mib, err);
	if (r >= 0)
		r = get_choice(&disk, "copy", copy_names, MVM_ARRAY_SIZE(copy_names), &copy, err);
	ret->data_disk_mib = (uint32_t)mib;
	ret->data_disk_reflinked = copy != 0;
	return r;
}

static int get_volumes(const struct json_at *root, struct record *ret, struct mvm_error *err)
{
	struct json_at list, item;
	int r = json_get_array(root, "volumes", JSON_OPTIONAL, &list, err);
	if (r <= 0)
		return r;
	size_t n = json_array_size(list.value);
	if (n > RECORD_VOLUMES_MAX)
		return json_error(root, "volumes", err, "more than %u", RECORD_VOLUMES_MAX);
	for (size_t i = 0; i < n; i++) {
		struct record_volume *v = &ret->volumes[i];
		json_item(&list, i, &item);
		ret->n_volumes++;
		r = json_get_string(&item, "host", JSON_REQUIRED, &v->host, err);
		if (r >= 0)
			r = json_get_string(&item, "guest", JSON_REQUIRED, &v->guest, err);
		if (r >= 0)
			r = json_get_bool(&item, "write_back", JSON_REQUIRED, &v->write_back, err);
		if (r < 0)
			return r;
	}
	return 0;
}

static json_t *volumes_json(struct json_out *out, const struct record *r)
{
	json_t *list = json_array();
	for (size_t i = 0; i < r->n_volumes; i++) {
		json_t *o = json_new(out);
		json_put_string(out, o, "host", r->volumes[i].host);
		json_put_string(out, o, "guest", r->volumes[i].guest);
		json_put(out, o, "write_back", json_boolean(r->volumes[i].write_back));
		if (json_array_append_new(list, o) < 0)
			out->failed = true;
	}
	return list;
}

int record_load(int dir_fd, struct record *ret, struct mvm_error *err)
{
	AUTO_FREE char *text = NULL;
	AUTO_JSON json_t *doc = NULL;
	AUTO_DONE(record) rec = { 0 };
	struct json_at root;
	size_t len;

	int r = file_read_at(dir_fd, RECORD_NAME, RECORD_MAX_BYTES, &text, &len);
	if (r < 0)
		return mvm_error_set(err, r, "cannot read %s: %s", RECORD_NAME, strerror(-r));
	r = json_read(text, len, RECORD_NAME, &doc, err);
	if (r < 0)
		return r;
	json_root(&root, RECORD_NAME, doc);
	r = get_strings(&root, &rec, err);
	if (r >= 0)
		r = get_choices(&root, &rec, err);
	if (r >= 0)
		r = get_numbers(&root, &rec, err);
	if (r >= 0)
		r = get_forwards(&root, &rec, err);
	if (r >= 0)
		r = get_stages(&root, &rec, err);
	if (r >= 0)
		r = get_data_disk(&root, &rec, err);
	if (r >= 0)
		r = get_volumes(&root, &rec, err);
	if (r < 0)
		return r;
	*ret = rec;
	rec = (struct record){ 0 };
	return 0;
}

static json_t *forwards_json(struct json_out *out, const struct record *r)
{
	json_t *list = json_array();
	for (size_t i = 0; i < r->n_forwards; i++) {
		const struct vmm_forward *f = &r->forwards[i];
		json_t *o = json_new(out);
		json_put_string(out, o, "protocol", f->udp ? "udp" : "tcp");
		json_put_string(out, o, "host_address", f->host_address);
		json_put_u64(out, o, "host_port", f->host_port);
		json_put_u64(out, o, "guest_port", f->guest_port);
		if (json_array_append_new(list, o) < 0)
			out->failed = true;
	}
	return list;
}

static void put_nullable(struct json_out *out, json_t *o, const char *key, const char *value)
{
	if (value)
		json_put_string(out, o, key, value);
	else
		json_put(out, o, key, json_null());
}

static json_t *usage_json(struct json_out *out, const struct usage *u)
{
	json_t *o = json_new(out);
	json_put_u64(out, o, "cpu_ns", u->cpu_ns);
	json_put_u64(out, o, "memory_private_bytes", u->memory_private_bytes);
	json_put_u64(out, o, "memory_shared_bytes", u->memory_shared_bytes);
	json_put_u64(out, o, "supervisor_private_bytes", u->supervisor_private_bytes);
	json_put_u64(out, o, "disk_bytes", u->disk_bytes);
	return o;
}

char *record_to_json(const struct record *r)
{
	struct json_out out = { 0 };
	json_t *o = json_new(&out);
	json_put_u64(&out, o, "schema_version", 1);
	json_put_string(&out, o, "name", r->name);
	json_put_string(&out, o, "template_id", r->template_id);
	json_put_string(&out, o, "revision_hash", r->revision);
	json_put_string(&out, o, "state", record_state_name(r->state));
	json_put_string(&out, o, "start", start_names[r->restore]);
	put_nullable(&out, o, "reason", r->reason);
	json_put_string(&out, o, "backend", r->backend);
	put_nullable(&out, o, "backend_version", r->backend_version);
	put_nullable(&out, o, "accelerator", r->accelerator);
	json_put_u64(&out, o, "vcpus", r->vcpus);
	json_put_u64(&out, o, "mem_mib", r->mem_mib);
	if (r->data_disk_mib) {
		json_t *disk = json_new(&out);
		json_put_u64(&out, disk, "size_mib", r->data_disk_mib);
		json_put_string(&out, disk, "copy", copy_names[r->data_disk_reflinked]);
		json_put(&out, o, "data_disk", disk);
	}
	if (r->n_volumes)
		json_put(&out, o, "volumes", volumes_json(&out, r));
	json_put(&out, o, "forwards", forwards_json(&out, r));
	put_nullable(&out, o, "hostname", r->hostname);
	put_nullable(&out, o, "machine_id", r->machine_id);
	json_put_string(&out, o, "created_at", r->created_at);
	put_nullable(&out, o, "started_at", r->started_at);
	put_nullable(&out, o, "ended_at", r->ended_at);
	json_put_u64(&out, o, "supervisor_pid", (uint64_t)r->supervisor_pid);
	json_put_u64(&out, o, "vmm_pid", (uint64_t)r->vmm_pid);
	json_put(&out, o, "attached", json_boolean(r->attached));
	json_put_string(&out, o, "purpose", purpose_names[r->purpose]);
	json_put_string(&out, o, "boot_args", r->cmdline);
	json_t *stages = json_new(&out);
	for (size_t i = 0; i < r->n_stages; i++)
		json_put_u64(&out, stages, r->stages[i].name, (uint64_t)r->stages[i].ns);
	json_put(&out, o, "stages_ns", stages);
	put_nullable(&out, o, "error", r->error);
	json_put_string(&out, o, "health", record_health_name(r->health));
	put_nullable(&out, o, "health_message", r->health_message);
	json_put(&out, o, "restart_on_failure", json_boolean(r->restart_on_failure));
	json_put_u64(&out, o, "restarts", r->restarts);
	json_put_u64(&out, o, "ttl_ms", (uint64_t)r->ttl_ms);
	put_nullable(&out, o, "expires_at", r->expires_at);
	json_put(&out, o, "remove_at_end", json_boolean(r->remove_at_end));
	json_put_u64(&out, o, "log_max_bytes", r->log_max_bytes);
	put_nullable(&out, o, "cgroup", r->cgroup);
	put_nullable(&out, o, "cgroup_limits", r->cgroup_limits);
	put_nullable(&out, o, "boot_id", r->boot_id);
	if (r->has_usage)
		json_put(&out, o, "usage", usage_json(&out, &r->usage));

	char *text = NULL;
	return json_out_text(&out, o, JSON_TEXT_PRETTY, &text, NULL) < 0 ? NULL : text;
}

int record_save(int dir_fd, const struct record *r, struct mvm_error *err)
{
	AUTO_FREE char *text = record_to_json(r);
	if (!text)
		return mvm_error_oom(err);
	int result = file_replace_unsynced_at(dir_fd, RECORD_NAME, text, strlen(text), 0600);
	if (result < 0)
		return mvm_error_set(err, result, "cannot write %s: %s", RECORD_NAME,
				     strerror(-result));
	return 0;
}

void record_done(struct record *r)
{
	char **strings[] = {
		&r->name,	   &r->template_id,	&r->revision,
		&r->backend,	   &r->backend_version, &r->accelerator,
		&r->reason,	   &r->cmdline,		&r->created_at,
		&r->started_at,	   &r->ended_at,	&r->hostname,
		&r->machine_id,	   &r->error,		&r->boot_id,
		&r->expires_at,	   &r->health_message,	&r->cgroup,
		&r->cgroup_limits,
	};
	for (size_t i = 0; i < MVM_ARRAY_SIZE(strings); i++)
		free(*strings[i]);
	for (size_t i = 0; i < r->n_volumes; i++) {
		free(r->volumes[i].host);
		free(r->volumes[i].guest);
	}
	*r = (struct record){ 0 };
}
