/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <string.h>

#include "base/file.h"
#include "codec/json.h"
#include "instance/record_names.h"

#define RECORD_MAX_BYTES ((size_t)256 * 1024)

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
	size_t state = 0, start = 0, purpose = 0, health = 0, memory;
	int r = get_choice(root, "state", record_state_names, MVM_ARRAY_SIZE(record_state_names),
			   &state, err);
	if (r >= 0)
		r = get_choice(root, "start", record_start_names,
			       MVM_ARRAY_SIZE(record_start_names), &start, err);
	if (r >= 0)
		r = get_choice(root, "purpose", record_purpose_names,
			       MVM_ARRAY_SIZE(record_purpose_names), &purpose, err);
	if (r >= 0)
		r = get_choice(root, "health", record_health_names,
			       MVM_ARRAY_SIZE(record_health_names), &health, err);
	memory = start ? RECORD_MEMORY_SHARED : RECORD_MEMORY_OWN;
	if (r >= 0 && json_object_get(root->value, "memory")) /* older ones do not say */
		r = get_choice(root, "memory", record_memory_names,
			       MVM_ARRAY_SIZE(record_memory_names), &memory, err);
	ret->memory = (enum record_memory)memory;
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

/* Records of older versions know only one policy. */
static int get_restart(const struct json_at *root, struct record *ret, struct mvm_error *err)
{
	bool on_failure = false;
	size_t restart = 0;
	uint64_t max = 0;
	int r = json_get_bool(root, "restart_on_failure", JSON_REQUIRED, &on_failure, err);
	restart = on_failure ? RECORD_RESTART_ON_FAILURE : RECORD_RESTART_NO;
	if (r >= 0 && json_object_get(root->value, "restart"))
		r = get_choice(root, "restart", record_restart_names,
			       MVM_ARRAY_SIZE(record_restart_names), &restart, err);
	if (r >= 0)
		r = json_get_u64(root, "restart_max", 0, UINT32_MAX, JSON_OPTIONAL, &max, err);
	ret->restart = (enum record_restart)restart;
	ret->restart_max = (unsigned)max;
	return r;
}

static int get_exit_code(const struct json_at *root, struct record *ret, struct mvm_error *err)
{
	const json_t *value = json_object_get(root->value, "exit_code");
	uint64_t code = 0;
	int r = json_get_bool(root, "workload_ended", JSON_OPTIONAL, &ret->workload_ended, err);
	if (r < 0 || !value || json_is_null(value))
		return r;
	r = json_get_u64(root, "exit_code", 0, 255, JSON_REQUIRED, &code, err);
	ret->has_exit_code = r >= 0;
	ret->exit_code = (unsigned)code;
	return r;
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
		r = get_restart(root, ret, err);
	if (r >= 0)
		r = json_get_bool(root, "keep_running", JSON_OPTIONAL, &ret->keep_running, err);
	if (r >= 0)
		r = json_get_bool(root, "remove_at_end", JSON_REQUIRED, &ret->remove_at_end, err);
	return r;
}

static int get_numbers(const struct json_at *root, struct record *ret, struct mvm_error *err)
{
	uint64_t vcpus = 0, mem_mib = 0, supervisor_pid = 0, vmm_pid = 0, ttl_ms = 0, restarts = 0;
	bool agent = true;
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
		r = json_get_bool(root, "held", JSON_OPTIONAL, &ret->held, err);
	if (r >= 0)
		r = json_get_u64(root, "folder_inode", 0, JSON_U64_MAX, JSON_OPTIONAL,
				 &ret->folder_inode, err);
	if (r >= 0)
		r = json_get_bool(root, "from_pool", JSON_OPTIONAL, &ret->from_pool, err);
	if (r >= 0)
		r = json_get_bool(root, "agent", JSON_OPTIONAL, &agent, err);
	if (r >= 0)
		r = get_wishes(root, ret, &ttl_ms, &restarts, err);
	if (r >= 0)
		r = get_exit_code(root, ret, err);
	ret->no_agent = !agent;
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
		r = get_choice(&disk, "copy", record_copy_names, MVM_ARRAY_SIZE(record_copy_names),
			       &copy, err);
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
			r = json_get_string(&item, "name", JSON_OPTIONAL, &v->name, err);
		if (r >= 0)
			r = json_get_bool(&item, "write_back", JSON_REQUIRED, &v->write_back, err);
		if (r < 0)
			return r;
	}
	return 0;
}

int record_load(int dir_fd, struct record *ret, struct mvm_error *err)
{
	AUTO_FREE char *text = NULL;
	size_t len;
	int r = file_read_at(dir_fd, RECORD_NAME, RECORD_MAX_BYTES, &text, &len);
	if (r < 0)
		return mvm_error_set(err, r, "cannot read %s: %s", RECORD_NAME, strerror(-r));
	return record_parse(text, len, ret, err);
}

int record_parse(const char *text, size_t len, struct record *ret, struct mvm_error *err)
{
	AUTO_JSON json_t *doc = NULL;
	AUTO_DONE(record) rec = { 0 };
	struct json_at root;

	int r = json_read(text, len, RECORD_NAME, &doc, err);
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
	if (r >= 0)
		r = json_get_strings(&root, "env", JSON_OPTIONAL, &rec.env, err);
	if (r < 0)
		return r;
	*ret = rec;
	rec = (struct record){ 0 };
	return 0;
}
