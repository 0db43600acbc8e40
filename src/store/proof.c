/* SPDX-License-Identifier: Apache-2.0 */
#include "store/proof.h"

#include <limits.h>
#include <stdio.h>
#include <string.h>

#include "base/file.h"
#include "base/own.h"
#include "codec/json.h"

#define FILE_MAX    ((size_t)16 << 20) /* an index of many templates */
#define INDEX_MAGIC "mvm-list"
#define KEYS_MAX    4

/* Files that only mvm makes.  Each holds a JSON object with these members, or begins with a magic
 * number.  A file with neither holds a UUID. */
static const struct proof {
	const char *folder;
	const char *file; /* NULL: files in this folder prove nothing */
	bool deeper;	  /* the file lies in the folder's subfolders */
	const char *keys[KEYS_MAX];
	const char *magic;
} proofs[] = {
	{ "templates", "template.json", true, { "template_id", "flake_ref", "profile" }, NULL },
	{ "kernels",
	  "kernel.json",
	  true,
	  { "added_at", "vmlinux_sha256", "modules_sha256" },
	  NULL },
	{ "instances",
	  "instance.json",
	  true,
	  { "template_id", "revision_hash", "backend", "boot_args" },
	  NULL },
	{ "cache", "templates.index", false, { NULL }, INDEX_MAGIC },
	{ "cache", "qemu.json", false, { "key", "binary_digest", "version" }, NULL },
	{ "cache", "firecracker.json", false, { "key", "binary_digest", "version" }, NULL },
	{ "locks", "boot_id", false, { NULL }, NULL },
	{ "blobs", NULL, false, { NULL }, NULL }, /* an OCI layout has blobs/sha256, too */
	{ "pool", NULL, false, { NULL }, NULL },
	{ "logs", NULL, false, { NULL }, NULL },
	{ "tmp", NULL, false, { NULL }, NULL },
	{ "volumes", NULL, false, { NULL }, NULL },
	{ "keys", NULL, false, { NULL }, NULL },
	{ "trust", NULL, false, { NULL }, NULL },
	{ "tokens", NULL, false, { NULL }, NULL },
};

bool proof_knows(const char *folder)
{
	for (size_t i = 0; i < MVM_ARRAY_SIZE(proofs); i++) {
		if (str_eq(folder, proofs[i].folder))
			return true;
	}
	return false;
}

static bool has_keys(const char *text, size_t len, const struct proof *p)
{
	AUTO_JSON json_t *doc = NULL;
	if (json_read(text, len, p->file, &doc, NULL) < 0)
		return false;
	for (size_t i = 0; i < KEYS_MAX && p->keys[i]; i++) {
		if (!json_object_get(doc, p->keys[i]))
			return false;
	}
	return true;
}

static bool is_uuid(const char *text, size_t len)
{
	static const char shape[] = "xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx";
	if (len != strlen(shape))
		return false;
	for (size_t i = 0; i < len; i++) {
		if (!strchr(shape[i] == 'x' ? "0123456789abcdef" : "-", text[i]))
			return false;
	}
	return true;
}

static bool holds(int fd, const char *path, const struct proof *p)
{
	AUTO_FREE char *text = NULL;
	size_t len;
	if (file_read_below(fd, path, FILE_MAX, &text, &len) < 0)
		return false;
	if (p->keys[0])
		return has_keys(text, len, p);
	return p->magic ? str_starts(text, p->magic) : is_uuid(text, len);
}

bool proof_in(const char *folder, int fd, const struct strv *names)
{
	char path[2 * NAME_MAX + 2];

	for (size_t i = 0; i < MVM_ARRAY_SIZE(proofs); i++) {
		const struct proof *p = &proofs[i];
		if (!p->file || !str_eq(folder, p->folder))
			continue;
		if (!p->deeper && holds(fd, p->file, p))
			return true;
		for (size_t k = 0; p->deeper && k < names->n; k++) {
			snprintf(path, sizeof(path), "%s/%s", names->v[k], p->file);
			if (holds(fd, path, p))
				return true;
		}
	}
	return false;
}
