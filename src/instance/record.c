/* SPDX-License-Identifier: Apache-2.0 */
#include "instance/record.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "model/fields.h"

#define RECORD_MAX_BYTES ((size_t)256 * 1024)

static const char *const state_names[] = {
	[RECORD_STARTING] = "starting", [RECORD_RUNNING] = "running",
	[RECORD_PAUSED] = "paused",	[RECORD_EXITED] = "exited",
	[RECORD_FAILED] = "failed",	[RECORD_SUSPENDED] = "suspended",
};

static const char *const health_names[] = {
	[RECORD_HEALTH_NONE] = "none",
	[RECORD_HEALTH_STARTING] = "starting",
	[RECORD_HEALTH_HEALTHY] = "healthy",
	[RECORD_HEALTH_UNHEALTHY] = "unhealthy",
};

static const char *const continues_names[] = {
	[RECORD_CONTINUES_NOTHING] = "nothing",
	[RECORD_CONTINUES_SUSPENDED] = "suspended",
	[RECORD_CONTINUES_FORK] = "fork",
};

static const char *const then_names[] = { "stop", "suspend" };
static const char *const start_names[] = { "boot", "restore" };

static const char *const memory_names[] = {
	[RECORD_MEMORY_OWN] = "own",
	[RECORD_MEMORY_SHARED] = "shared",
	[RECORD_MEMORY_SPARSE] = "sparse",
	[RECORD_MEMORY_REFLINK] = "reflink",
};

static const char *const copy_names[] = { "sparse", "reflink" };

static const char *const purpose_names[] = {
	[RECORD_FOR_USER] = "user",
	[RECORD_FOR_CAPTURE] = "capture",
	[RECORD_FOR_CHECK] = "check",
	[RECORD_FOR_POOL] = "pool",
};

static const char *const restart_names[] = {
	[RECORD_RESTART_NO] = "no",
	[RECORD_RESTART_ON_FAILURE] = "on-failure",
	[RECORD_RESTART_ALWAYS] = "always",
	[RECORD_RESTART_UNLESS_STOPPED] = "unless-stopped",
};

static const char *const volume_kind_names[] = {
	[RECORD_VOLUME_UNKNOWN] = "unknown",
	[RECORD_VOLUME_FILE] = "file",
	[RECORD_VOLUME_FOLDER] = "folder",
};

static const char *const protocol_names[] = { "tcp", "udp" };

const char *record_state_name(enum record_state state)
{
	return state_names[state];
}

const char *record_health_name(enum record_health health)
{
	return health_names[health];
}

static const struct field volume[] = {
	FIELD_STRING(record_volume, host, FIELD_REQUIRED),
	FIELD_STRING(record_volume, guest, FIELD_REQUIRED),
	FIELD_STRING(record_volume, name, FIELD_SPARSE),
	FIELD_BOOL(record_volume, write_back, FIELD_REQUIRED),
	FIELD_ENUM(record_volume, kind, enum record_volume_kind, FIELD_SPARSE, volume_kind_names),
};
static const struct fields volume_fields = FIELDS_CLOSED(record_volume, volume);

static const struct field forward[] = {
	{ FIELD_KEY("protocol", vmm_forward, udp, FIELD_IS_ENUM, bool, FIELD_REQUIRED),
	  FIELD_NAMES(protocol_names) },
	FIELD_CHARS(vmm_forward, host_address),
	FIELD_NUMBER(vmm_forward, host_port, uint16_t, FIELD_REQUIRED, 1, UINT16_MAX),
	FIELD_NUMBER(vmm_forward, guest_port, uint16_t, FIELD_REQUIRED, 1, UINT16_MAX),
};
static const struct fields forward_fields = FIELDS_CLOSED(vmm_forward, forward);

static const struct field disk[] = {
	FIELD_NUMBER(record_disk, size_mib, uint32_t, FIELD_REQUIRED, 1, UINT32_MAX),
	{ FIELD_KEY("copy", record_disk, reflinked, FIELD_IS_ENUM, bool, FIELD_REQUIRED),
	  FIELD_NAMES(copy_names) },
};
static const struct fields disk_fields = FIELDS_CLOSED(record_disk, disk);

static const struct field refusal[] = {
	FIELD_CHARS(record_refusal, target),
	FIELD_NUMBER(record_refusal, port, uint16_t, FIELD_REQUIRED, 0, UINT16_MAX),
	FIELD_CHARS(record_refusal, protocol),
	FIELD_CHARS(record_refusal, reason),
	FIELD_SIZE(record_refusal, count, FIELD_REQUIRED),
	FIELD_CHARS(record_refusal, last_at),
};
static const struct fields refusal_fields = FIELDS_CLOSED(record_refusal, refusal);

static const struct field usage[] = {
	FIELD_SIZE(usage, cpu_ns, FIELD_REQUIRED),
	FIELD_SIZE(usage, memory_private_bytes, FIELD_REQUIRED),
	FIELD_SIZE(usage, memory_shared_bytes, FIELD_REQUIRED),
	FIELD_SIZE(usage, supervisor_private_bytes, FIELD_REQUIRED),
	FIELD_SIZE(usage, disk_bytes, FIELD_REQUIRED),
};
static const struct fields usage_fields = FIELDS_CLOSED(usage, usage);

static int read_stages(const struct json_at *at, const char *key, void *value,
		       struct mvm_error *err)
{
	struct record *r = value;
	struct json_at stages = { 0 };
	const char *name;
	json_t *ns;

	int found = json_get_object(at, key, JSON_NULLABLE, &stages, err);
	if (found <= 0)
		return found;
	json_object_foreach(stages.value, name, ns)
	{
		struct record_stage *s = &r->stages[r->n_stages];
		if (r->n_stages == RECORD_STAGES_MAX || strlen(name) >= sizeof(s->name) ||
		    !json_is_integer(ns))
			return json_error(&stages, name, err, "not a stage");
		snprintf(s->name, sizeof(s->name), "%s", name);
		s->ns = json_integer_value(ns);
		r->n_stages++;
	}
	return 1;
}

static void put_stages(struct json_out *out, json_t *o, const char *key, const void *value)
{
	const struct record *r = value;
	json_t *stages = json_new(out);
	for (size_t i = 0; i < r->n_stages; i++)
		json_put_u64(out, stages, r->stages[i].name, (uint64_t)r->stages[i].ns);
	json_put(out, o, key, stages);
}

static const struct field_ops stages_ops = { read_stages, put_stages };

static const struct field record[] = {
	FIELD_SCHEMA_VERSION(record, schema_version),
	FIELD_STRING(record, name, FIELD_REQUIRED),
	FIELD_STRING(record, former_name, FIELD_SPARSE),
	FIELD_STRING(record, template_id, FIELD_REQUIRED),
	{ FIELD_KEY("revision_hash", record, revision, FIELD_IS_STRING, char *, FIELD_REQUIRED) },
	FIELD_ENUM(record, state, enum record_state, FIELD_REQUIRED, state_names),
	{ FIELD_KEY("start", record, restore, FIELD_IS_ENUM, bool, FIELD_REQUIRED),
	  FIELD_NAMES(start_names) },
	FIELD_TEXT(record, reason),
	FIELD_BOOL(record, from_pool, FIELD_KEPT),
	FIELD_ENUM(record, continues, enum record_continues, FIELD_SPARSE, continues_names),
	FIELD_STRING(record, forked_from, FIELD_SPARSE),
	FIELD_STRING(record, backend, FIELD_REQUIRED),
	FIELD_TEXT(record, backend_version),
	FIELD_TEXT(record, accelerator),
	FIELD_NUMBER(record, vcpus, unsigned, FIELD_REQUIRED, 1, UINT8_MAX),
	FIELD_NUMBER(record, mem_mib, uint32_t, FIELD_REQUIRED, 1, UINT32_MAX),
	FIELD_ENUM(record, memory, enum record_memory, FIELD_KEPT, memory_names),
	{ FIELD_KEY("data_disk", record, disks[OWN_DISK_DATA], FIELD_IS_OBJECT, struct record_disk,
		    FIELD_SPARSE),
	  .object = &disk_fields, .has = FIELD_OFFSET(record, disks[OWN_DISK_DATA].present, bool) },
	{ FIELD_KEY("root_disk", record, disks[OWN_DISK_ROOT], FIELD_IS_OBJECT, struct record_disk,
		    FIELD_SPARSE),
	  .object = &disk_fields, .has = FIELD_OFFSET(record, disks[OWN_DISK_ROOT].present, bool) },
	FIELD_LIST(record, volumes, n_volumes, record_volume, FIELD_SPARSE, &volume_fields),
	FIELD_LIST(record, forwards, n_forwards, vmm_forward, FIELD_REQUIRED, &forward_fields),
	FIELD_PAIRS(record, labels),
	FIELD_STRINGS(record, env),
	FIELD_STRINGS(record, network_allow),
	FIELD_STRINGS(record, network_deny),
	FIELD_STRINGS(record, network_dns),
	FIELD_SIZE(record, network_refused, FIELD_SPARSE),
	FIELD_LIST(record, network_refusals, n_network_refusals, record_refusal, FIELD_SPARSE,
		   &refusal_fields),
	FIELD_STRING(record, network_problem, FIELD_SPARSE),
	FIELD_STRING(record, disk_problem, FIELD_SPARSE),
	FIELD_STRING(record, suspend_problem, FIELD_SPARSE),
	FIELD_TEXT(record, hostname),
	FIELD_TEXT(record, machine_id),
	FIELD_STRING(record, created_at, FIELD_REQUIRED),
	FIELD_TEXT(record, started_at),
	FIELD_TEXT(record, ended_at),
	FIELD_NUMBER(record, supervisor_pid, int64_t, FIELD_KEPT, 0, INT32_MAX),
	FIELD_NUMBER(record, vmm_pid, int64_t, FIELD_KEPT, 0, INT32_MAX),
	{ FIELD_KEY("agent", record, no_agent, FIELD_IS_NOT, bool, FIELD_KEPT) },
	FIELD_BOOL(record, attached, FIELD_REQUIRED),
	FIELD_BOOL(record, held, FIELD_SPARSE),
	FIELD_SIZE(record, folder_inode, FIELD_SPARSE),
	FIELD_ENUM(record, purpose, enum record_purpose, FIELD_REQUIRED, purpose_names),
	{ FIELD_KEY("boot_args", record, cmdline, FIELD_IS_STRING, char *, FIELD_REQUIRED) },
	{ .key = "stages_ns", .type = FIELD_IS_OWN, .presence = FIELD_KEPT, .ops = &stages_ops },
	FIELD_TEXT(record, error),
	FIELD_ENUM(record, health, enum record_health, FIELD_REQUIRED, health_names),
	FIELD_TEXT(record, health_message),
	FIELD_BOOL(record, workload_ended, FIELD_KEPT),
	{ FIELD(record, exit_code, FIELD_IS_NUMBER, unsigned, FIELD_KEPT), .max = UINT8_MAX,
	  .has = FIELD_OFFSET(record, has_exit_code, bool) },
	FIELD_ENUM(record, restart, enum record_restart, FIELD_KEPT, restart_names),
	FIELD_NUMBER(record, restart_max, unsigned, FIELD_KEPT, 0, UINT32_MAX),
	/* for older versions, which know only one policy */
	{ FIELD_KEY("restart_on_failure", record, restart, FIELD_IS_BOOL, enum record_restart,
		    FIELD_ONLY_PUT) },
	FIELD_BOOL(record, stopping, FIELD_SPARSE),
	FIELD_BOOL(record, keep_running, FIELD_KEPT),
	FIELD_BOOL(record, no_workload, FIELD_SPARSE),
	FIELD_BOOL(record, own_image, FIELD_SPARSE),
	FIELD_NUMBER(record, restarts, unsigned, FIELD_REQUIRED, 0, UINT32_MAX),
	FIELD_NUMBER(record, ttl_ms, int64_t, FIELD_REQUIRED, 0, INT64_MAX),
	FIELD_ENUM(record, ttl_action, enum record_then, FIELD_SPARSE, then_names),
	FIELD_NUMBER(record, on_idle_ms, int64_t, FIELD_SPARSE, 0, INT64_MAX),
	FIELD_ENUM(record, on_idle_action, enum record_then, FIELD_SPARSE, then_names),
	FIELD_TEXT(record, expires_at),
	FIELD_NUMBER(record, volume_timeout_ms, int64_t, FIELD_SPARSE, 0, INT64_MAX),
	FIELD_STRING(record, volumes_note, FIELD_SPARSE),
	FIELD_BOOL(record, volumes_lost, FIELD_SPARSE),
	FIELD_BOOL(record, remove_at_end, FIELD_REQUIRED),
	FIELD_SIZE(record, log_max_bytes, FIELD_REQUIRED),
	FIELD_TEXT(record, isolation),
	FIELD_TEXT(record, cgroup),
	FIELD_TEXT(record, cgroup_limits),
	FIELD_TEXT(record, boot_id),
	{ FIELD(record, usage, FIELD_IS_OBJECT, struct usage, FIELD_ONLY_PUT),
	  .object = &usage_fields, .has = FIELD_OFFSET(record, has_usage, bool) },
};
static const struct fields record_fields = FIELDS(record, record);

/* Add the members that older versions did not write.  Returns 0 or -ENOMEM. */
static int migrate(json_t *doc, struct mvm_error *err)
{
	const char *start = json_string_value(json_object_get(doc, "start"));
	enum record_memory memory = str_eq(start, start_names[true]) ? RECORD_MEMORY_SHARED
								     : RECORD_MEMORY_OWN;
	enum record_restart restart = json_is_true(json_object_get(doc, "restart_on_failure"))
					      ? RECORD_RESTART_ON_FAILURE
					      : RECORD_RESTART_NO;
	AUTO_JSON json_t *missing = json_pack("{s:s, s:s}", "memory", memory_names[memory],
					      "restart", restart_names[restart]);
	if (!missing || (json_is_object(doc) && json_object_update_missing(doc, missing) < 0))
		return mvm_error_oom(err);
	return 0;
}

int record_load(int dir_fd, struct record *ret, struct mvm_error *err)
{
	AUTO_FREE char *text = NULL;
	size_t len;
	int r = file_read_at(dir_fd, RECORD_NAME, RECORD_MAX_BYTES, &text, &len);
	if (r == -EFBIG)
		return mvm_error_set(err, -EBADMSG, "%s is larger than %zu KiB", RECORD_NAME,
				     RECORD_MAX_BYTES / 1024);
	if (r < 0)
		return mvm_error_set(err, r, "cannot read %s: %s", RECORD_NAME, strerror(-r));
	return record_parse(text, len, ret, err);
}

/* The value of a top-level member.  No string of JSON has a raw newline, and members further in are
 * indented further. */
static const char *value_in(const char *text, const char *line)
{
	const char *at = strstr(text, line);
	return at ? at + strlen(line) : NULL;
}

int record_read_memory(int instances_fd, const char *name, uint32_t *ret_mem_mib,
		       int64_t *ret_vmm_pid)
{
	AUTO_FREE char *text = NULL;
	char path[NAME_MAX + sizeof("/" RECORD_NAME)];

	snprintf(path, sizeof(path), "%s/" RECORD_NAME, name);
	int r = file_read_at(instances_fd, path, RECORD_MAX_BYTES, &text, NULL);
	if (r < 0)
		return r;
	const char *state = value_in(text, "\n  \"state\": \"");
	const char *mem_mib = value_in(text, "\n  \"mem_mib\": ");
	const char *vmm_pid = value_in(text, "\n  \"vmm_pid\": ");
	if (!state || !mem_mib || !vmm_pid)
		return -EBADMSG;
	bool over = false;
	for (enum record_state s = RECORD_EXITED; s <= RECORD_SUSPENDED; s++)
		over |= str_starts(state, state_names[s]);
	*ret_mem_mib = over ? 0 : (uint32_t)strtoul(mem_mib, NULL, 10);
	*ret_vmm_pid = strtoll(vmm_pid, NULL, 10);
	return 0;
}

int record_parse(const char *text, size_t len, struct record *ret, struct mvm_error *err)
{
	AUTO_JSON json_t *doc = NULL;
	AUTO_DONE(record) rec = { 0 };
	struct json_at root;

	int r = json_read(text, len, RECORD_NAME, &doc, err);
	if (r == 0)
		r = migrate(doc, err);
	if (r < 0)
		return r;
	json_root(&root, RECORD_NAME, doc);
	r = fields_read(&record_fields, &root, &rec, err);
	if (r < 0)
		return r;
	*ret = rec;
	rec = (struct record){ 0 };
	return 0;
}

bool record_removes_itself(const struct record *r)
{
	return r->attached || r->remove_at_end || r->purpose != RECORD_FOR_USER;
}

bool record_has_disk(const struct record *r)
{
	bool has = false;
	for (size_t i = 0; i < OWN_DISKS; i++)
		has |= r->disks[i].present;
	return has;
}

void record_boot_next(struct record *r)
{
	if (!r->restore || !record_has_disk(r))
		return;
	r->restore = false;
	r->own_image &= r->disks[OWN_DISK_ROOT].present; /* that disk fits only this image */
	r->memory = RECORD_MEMORY_OWN;
	free(r->reason);
	r->reason = strdup("its disk has changed since the snapshot"); /* NULL: no reason is told */
}

bool record_is_over(const struct record *r)
{
	return r->state == RECORD_EXITED || r->state == RECORD_FAILED ||
	       r->state == RECORD_SUSPENDED;
}

char *record_to_json(const struct record *r)
{
	char *text = NULL;
	return fields_format(&record_fields, r, &text, NULL) < 0 ? NULL : text;
}

/* Write the record in place.  A full disk has no room for a new file, but the old one has its
 * blocks.  A reader at that very moment may see a mixture; but otherwise no reader would ever learn
 * how the VM ended. */
static int overwrite(int dir_fd, const char *text, size_t len)
{
	AUTO_CLOSE int fd = openat(dir_fd, RECORD_NAME, O_WRONLY | O_CLOEXEC | O_NOFOLLOW);
	/* first make sure that all of it fits: half a record is worse than the old one */
	if (fd < 0 || fallocate(fd, FALLOC_FL_KEEP_SIZE, 0, (off_t)len) < 0)
		return -errno;
	if (pwrite(fd, text, len, 0) != (ssize_t)len || ftruncate(fd, (off_t)len) < 0)
		return -EIO;
	return 0;
}

int record_save(int dir_fd, const struct record *r, struct mvm_error *err)
{
	struct record here = *r; /* borrows everything that it points to */
	struct stat st;
	if (!here.folder_inode && fstat(dir_fd, &st) == 0 && st.st_ino <= JSON_U64_MAX)
		here.folder_inode = st.st_ino;
	AUTO_FREE char *text = record_to_json(&here);
	if (!text)
		return mvm_error_oom(err);
	if (strlen(text) > RECORD_MAX_BYTES) /* nobody could read it */
		return mvm_error_set(err, -EFBIG, "%s would be larger than %zu KiB", RECORD_NAME,
				     RECORD_MAX_BYTES / 1024);
	int result = file_replace_unsynced_at(dir_fd, RECORD_NAME, text, strlen(text), 0600);
	if ((result == -ENOSPC || result == -EDQUOT) && overwrite(dir_fd, text, strlen(text)) == 0)
		result = 0;
	if (result < 0)
		return mvm_error_set(err, result, "cannot write %s: %s", RECORD_NAME,
				     strerror(-result));
	return 0;
}

void record_done(struct record *r)
{
	fields_done(&record_fields, r);
}
