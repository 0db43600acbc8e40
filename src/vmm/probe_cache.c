/* SPDX-License-Identifier: Apache-2.0 */
#include "vmm/probe_cache.h"

#include <errno.h>
#include <jansson.h>
#include <string.h>

#include "base/file.h"

#define CACHE_FILE_MAX 16384u

static json_int_t timespec_ns(struct timespec t)
{
	return (json_int_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

/* An entry holds only while all of this is equal. */
static json_t *key_to_json(const struct probe_key *key)
{
	return json_pack("{s:s, s:I, s:I, s:I, s:I, s:I, s:s, s:s}", "binary", key->binary, "dev",
			 (json_int_t)key->st.st_dev, "ino", (json_int_t)key->st.st_ino, "size",
			 (json_int_t)key->st.st_size, "mtime_ns", timespec_ns(key->st.st_mtim),
			 "ctime_ns", timespec_ns(key->st.st_ctim), "accelerator",
			 vmm_accel_name(key->accel), "cpu", key->cpu);
}

static int file_name(const char *backend, char **ret)
{
	*ret = str_printf("%s.json", backend);
	return *ret ? 0 : -ENOMEM;
}

static int from_json(json_t *root, const struct probe_key *key, struct vmm_probe *ret)
{
	json_t *stored = NULL;
	const char *version, *digest, *format = NULL;
	json_int_t tsc_khz;
	if (json_unpack_ex(root, NULL, JSON_STRICT, "{s:o, s:s, s:s, s?s, s:I}", "key", &stored,
			   "binary_digest", &digest, "version", &version, "state_format", &format,
			   "tsc_khz", &tsc_khz) < 0)
		return 0;
	json_t *wanted = key_to_json(key);
	if (!wanted)
		return -ENOMEM;
	bool same = json_equal(stored, wanted);
	json_decref(wanted);
	if (!same || !*version || tsc_khz <= 0 || tsc_khz > UINT32_MAX)
		return 0;

	bool failed = false;
	AUTO_DONE(vmm_probe) p = {
		.usable = true,
		.binary = str_dup(key->binary, &failed),
		.binary_digest = str_dup(digest, &failed),
		.version = str_dup(version, &failed),
		.state_format = str_dup(format, &failed),
		.accel = key->accel,
		.tsc_khz = (uint32_t)tsc_khz,
	};
	if (failed)
		return -ENOMEM;
	*ret = p;
	p = (struct vmm_probe){ 0 };
	return 1;
}

int probe_cache_load(int dir_fd, const char *backend, const struct probe_key *key,
		     struct vmm_probe *ret)
{
	AUTO_FREE char *name = NULL, *text = NULL;
	size_t len = 0;
	int r = file_name(backend, &name);
	if (r < 0)
		return r;
	r = file_read_at(dir_fd, name, CACHE_FILE_MAX, &text, &len);
	if (r < 0)
		return r == -ENOMEM ? r : 0;
	json_t *root = json_loadb(text, len, JSON_REJECT_DUPLICATES, NULL);
	r = root ? from_json(root, key, ret) : 0;
	json_decref(root);
	return r;
}

int probe_cache_save(int dir_fd, const char *backend, const struct probe_key *key,
		     const struct vmm_probe *probe)
{
	AUTO_FREE char *name = NULL;
	int r = file_name(backend, &name);
	if (r < 0)
		return r;
	json_t *root = json_pack("{s:o, s:s, s:s, s:s*, s:I}", "key", key_to_json(key),
				 "binary_digest", probe->binary_digest, "version", probe->version,
				 "state_format", probe->state_format, "tsc_khz",
				 (json_int_t)probe->tsc_khz);
	AUTO_FREE char *text = root ? json_dumps(root, JSON_INDENT(2)) : NULL;
	json_decref(root);
	if (!text)
		return -ENOMEM;
	return file_replace_at(dir_fd, dir_fd, name, text, strlen(text), 0600);
}
