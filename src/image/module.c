/* SPDX-License-Identifier: Apache-2.0 */
#include "image/module.h"

#include <ctype.h>
#include <errno.h>
#include <string.h>

#include "base/file.h"
#include "codec/sha256.h"
#include "image/elf64.h"

#define MODULES_MAX 20000u
#define CHAIN_MAX   64u /* modules in a chain of dependencies; real chains have about ten */

/* The modules that a guest needs.  ext4 asks modprobe for crc32c_generic, which newer kernels have
 * built in. */
static const char *const wanted[] = {
	"crc32c_generic", "ext4",	"virtio_mmio",
	"virtio_pci",	  "virtio_blk", "virtio_net",
	"virtio_console", "virtio_rng", "vmw_vsock_virtio_transport",
	"overlay",
};

void module_list_done(struct module_list *l)
{
	for (size_t i = 0; i < l->n; i++) {
		free(l->v[i].path);
		strv_done(&l->v[i].depends);
	}
	free(l->v);
	*l = (struct module_list){ 0 };
}

static int copy_name(const char *s, size_t len, char ret[MODULE_NAME_SIZE])
{
	if (len == 0 || len >= MODULE_NAME_SIZE)
		return -EBADMSG;
	for (size_t i = 0; i < len; i++) {
		if (!isalnum((unsigned char)s[i]) && s[i] != '_' && s[i] != '-')
			return -EBADMSG;
		ret[i] = s[i] == '-' ? '_' : s[i];
	}
	ret[len] = '\0';
	return 0;
}

/* Find where ".ko" begins in "kernel/net/foo.ko.xz".  NULL: the path is no module's. */
static const char *find_suffix(const char *path)
{
	static const char *const endings[] = { ".ko", ".ko.xz", ".ko.zst", ".ko.gz" };
	size_t len = strlen(path);

	for (size_t i = 0; i < MVM_ARRAY_SIZE(endings); i++) {
		size_t n = strlen(endings[i]);
		if (len > n && strcmp(path + len - n, endings[i]) == 0)
			return path + len - n;
	}
	return NULL;
}

bool module_is_path(const char *path)
{
	return find_suffix(path) != NULL;
}

static int name_from_path(const char *path, char ret[MODULE_NAME_SIZE])
{
	const char *end = find_suffix(path), *slash = strrchr(path, '/');
	const char *start = slash ? slash + 1 : path;
	return end && end > start ? copy_name(start, (size_t)(end - start), ret) : -EBADMSG;
}

/* "a,b-c,d" */
static int read_depends(const char *s, struct module *ret)
{
	char name[MODULE_NAME_SIZE];

	while (*s) {
		size_t len = strcspn(s, ",");
		if (len > 0) {
			if (copy_name(s, len, name) < 0)
				return -EBADMSG;
			strv_add(&ret->depends, name);
		}
		s += len + (s[len] == ',');
	}
	return ret->depends.failed ? -ENOMEM : 0;
}

static int read_info(const char *info, size_t len, struct module *ret)
{
	int r = 0;

	while (r == 0 && len > 0) {
		size_t n = strnlen(info, len);
		if (n == len)
			return -EBADMSG; /* the last text lacks its NUL */
		if (str_starts(info, "depends="))
			r = read_depends(info + strlen("depends="), ret);
		else if (str_starts(info, "name="))
			r = copy_name(info + strlen("name="), n - strlen("name="), ret->name);
		info += n + 1;
		len -= n + 1;
	}
	return r;
}

static int parse(const void *data, size_t len, const char *path, struct module *ret)
{
	const uint8_t *info;
	struct elf elf;
	size_t info_len;

	int r = elf_open(data, len, &elf);
	if (r == 0)
		r = elf_section(&elf, ".modinfo", &info, &info_len);
	if (r == 0)
		r = read_info((const char *)info, info_len, ret);
	if (r == 0 && !*ret->name)
		r = name_from_path(path, ret->name);
	return r == -ENOENT ? -EBADMSG : r;
}

/* Append a module.  Takes m over, on failure too. */
static int append(struct module_list *l, struct module *m, const char *path, struct mvm_error *err)
{
	m->path = strdup(path);
	if (m->path && l->n == l->cap) {
		size_t cap = l->cap ? 2 * l->cap : 64;
		struct module *v = realloc(l->v, cap * sizeof(*v));
		if (v) {
			l->v = v;
			l->cap = cap;
		}
	}
	if (!m->path || l->n == l->cap) {
		free(m->path);
		strv_done(&m->depends);
		return mvm_error_oom(err);
	}
	l->v[l->n++] = *m;
	return 0;
}

static int add_parsed(struct module_list *l, int parsed, struct module *m, const char *path,
		      struct mvm_error *err)
{
	if (parsed == 0)
		return append(l, m, path, err);
	strv_done(&m->depends);
	return parsed == -EBADMSG ? mvm_error_set(err, parsed, "'%s' is no kernel module", path)
				  : mvm_error_oom(err);
}

static int check_room(const struct module_list *l, struct mvm_error *err)
{
	return l->n >= MODULES_MAX
		       ? mvm_error_set(err, -EFBIG, "there are more than %u modules", MODULES_MAX)
		       : 0;
}

int module_add(struct module_list *l, const void *data, size_t len, const char *path,
	       struct mvm_error *err)
{
	struct module m = { 0 };
	int r = check_room(l, err);
	return r < 0 ? r : add_parsed(l, parse(data, len, path, &m), &m, path, err);
}

static int add_dep(struct module_list *l, const char *path, const char *depends,
		   struct mvm_error *err)
{
	char name[MODULE_NAME_SIZE];
	struct module m = { 0 };

	int r = check_room(l, err);
	if (r < 0)
		return r;
	r = name_from_path(path, m.name);
	while (r == 0 && *(depends += strspn(depends, " "))) {
		size_t len = strcspn(depends, " ");
		AUTO_FREE char *one = strndup(depends, len);
		r = one ? name_from_path(one, name) : -ENOMEM;
		if (r == 0)
			strv_add(&m.depends, name);
		depends += len;
	}
	if (r == 0 && m.depends.failed)
		r = -ENOMEM;
	return add_parsed(l, r, &m, path, err);
}

int module_read_dep(struct module_list *l, char *text, size_t len, struct mvm_error *err)
{
	char *save = NULL;
	int r = 0;

	if (strlen(text) != len)
		return mvm_error_set(err, -EBADMSG, "it contains a NUL byte");
	for (char *line = strtok_r(text, "\n", &save); r == 0 && line;
	     line = strtok_r(NULL, "\n", &save)) {
		char *colon = strchr(line, ':');
		if (!colon)
			return mvm_error_set(err, -EBADMSG, "a line has no colon");
		*colon = '\0';
		r = add_dep(l, line, colon + 1, err);
	}
	return r;
}

enum { MARK_NEW, MARK_OPEN, MARK_DONE };

struct ordering {
	struct module_list *l;
	const struct module **order;
	size_t n;
};

static int by_name(const void *a, const void *b)
{
	const struct module *x = a, *y = b;
	int r = strcmp(x->name, y->name);
	return r ? r : strcmp(x->path, y->path);
}

static int name_is(const void *key, const void *m)
{
	return strcmp(key, ((const struct module *)m)->name);
}

static struct module *find(struct module_list *l, const char *name)
{
	return l->n ? bsearch(name, l->v, l->n, sizeof(*l->v), name_is) : NULL;
}

/* Append a module's dependencies, then the module.  A circle, which could not load anyway, ends
 * the recursion. */
static int visit(struct ordering *o, struct module *m, unsigned depth, struct mvm_error *err)
{
	if (m->mark != MARK_NEW)
		return 0;
	if (depth > CHAIN_MAX)
		return mvm_error_set(err, -EFBIG, "module '%s' is behind more than %u dependencies",
				     m->name, CHAIN_MAX);
	m->mark = MARK_OPEN;
	for (size_t i = 0; i < m->depends.n; i++) {
		struct module *d = find(o->l, m->depends.v[i]);
		if (!d)
			return mvm_error_set(err, -EBADMSG,
					     "module '%s' needs '%s', which is missing", m->name,
					     m->depends.v[i]);
		int r = visit(o, d, depth + 1, err);
		if (r < 0)
			return r;
	}
	m->mark = MARK_DONE;
	o->order[o->n++] = m;
	return 0;
}

int module_order(struct module_list *l, const struct module ***ret, size_t *ret_n,
		 struct mvm_error *err)
{
	AUTO_FREE const struct module **order = calloc(l->n + 1, sizeof(struct module *));
	struct ordering o = { .l = l, .order = order };

	if (!order)
		return mvm_error_oom(err);
	if (l->n > 1)
		qsort(l->v, l->n, sizeof(*l->v), by_name);
	for (size_t i = 0; i < MVM_ARRAY_SIZE(wanted); i++) {
		struct module *m = find(l, wanted[i]);
		int r = m ? visit(&o, m, 0, err) : 0;
		if (r < 0)
			return r;
	}
	*ret_n = o.n;
	*ret = TAKE_PTR(order);
	return 0;
}

int module_write_order(int dir_fd, const struct module *const *order,
		       const struct mvm_digest *digests, size_t n, struct mvm_digest *ret,
		       struct mvm_error *err)
{
	AUTO_DONE(strbuf) text = { 0 };
	struct sha256 h;

	sha256_init(&h);
	for (size_t i = 0; i < n; i++) {
		const char *name = order[i]->name;
		strbuf_addf(&text, "%s.ko\n", name);
		sha256_add(&h, name, strlen(name));
		sha256_add(&h, ".ko", 4);
		sha256_add(&h, &digests[i], sizeof(digests[i]));
	}
	sha256_end(&h, ret);
	if (text.failed)
		return mvm_error_oom(err);
	int r = file_create_at(dir_fd, "order", text.data, text.len, 0444);
	return r < 0 ? mvm_error_set(err, r, "cannot write 'order': %s", strerror(-r)) : 0;
}
