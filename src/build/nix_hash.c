/* SPDX-License-Identifier: Apache-2.0 */
#include "build/nix_hash.h"

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "base/str.h"

#define FLAKE_NIX     "flake.nix"
#define FLAKE_NIX_MAX ((size_t)4 << 20)
#define DIGEST_MAX    64u /* SHA-512 */

/* Decode standard base 64 with its padding.  Returns the number of bytes, or -EINVAL. */
static int decode_base64(const char *s, uint8_t ret[DIGEST_MAX])
{
	static const char digits[] =
		"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
	uint32_t bits = 0;
	int n_bits = 0, n = 0;

	for (; *s && *s != '='; s++) {
		const char *at = strchr(digits, *s);
		if (!at || n == DIGEST_MAX)
			return -EINVAL;
		bits = (bits << 6 | (uint32_t)(at - digits)) & 0xfff;
		n_bits += 6;
		if (n_bits >= 8) {
			n_bits -= 8;
			ret[n++] = (uint8_t)(bits >> n_bits);
		}
	}
	return n;
}

/* Nix's base 32: least significant digit last, and no e, o, t, u. */
static void encode_nix32(const uint8_t *data, size_t len, char *ret)
{
	static const char digits[] = "0123456789abcdfghijklmnpqrsvwxyz";
	size_t n = (len * 8 - 1) / 5 + 1;

	for (size_t k = 0; k < n; k++) {
		size_t bit = (n - 1 - k) * 5, i = bit / 8, j = bit % 8;
		unsigned c = (unsigned)data[i] >> j;
		if (i + 1 < len)
			c |= (unsigned)data[i + 1] << (8 - j);
		ret[k] = digits[c & 31];
	}
	ret[n] = '\0';
}

struct place {
	size_t n; /* number of occurrences */
	size_t at, len;
};

static void look_for(const char *text, size_t len, const char *word, struct place *p)
{
	size_t n = strlen(word);

	for (const char *at = text; (at = memmem(at, len - (size_t)(at - text), word, n));
	     at += n) {
		p->n++;
		p->at = (size_t)(at - text);
		p->len = n;
	}
}

/* The forms of a hash in a flake: "sha256-<base64>", hexadecimal, base 32. */
static void look_for_all(const char *text, size_t len, const char *specified, struct place *p)
{
	char word[2 * DIGEST_MAX + 1];
	uint8_t digest[DIGEST_MAX];
	const char *dash = strchr(specified, '-');

	look_for(text, len, specified, p);
	int n = dash ? decode_base64(dash + 1, digest) : -EINVAL;
	if (n <= 0)
		return;
	size_t first = p->n;
	str_hex(digest, (size_t)n, word);
	if (p->n == 0)
		look_for(text, len, word, p);
	encode_nix32(digest, (size_t)n, word);
	if (p->n == 0) /* a digest of zeros is the same in both */
		look_for(text, len, word, p);
	/* replace "sha256:<hex>" as a whole */
	size_t name = (size_t)(dash - specified);
	if (p->n == 1 && first == 0 && p->at > name && text[p->at - 1] == ':' &&
	    memcmp(text + p->at - 1 - name, specified, name) == 0) {
		p->at -= name + 1;
		p->len += name + 1;
	}
}

int nix_hash_replace(const char *text, size_t len, const char *specified, const char *got,
		     char **ret, size_t *ret_len, struct mvm_error *err)
{
	AUTO_DONE(strbuf) b = { 0 };
	struct place p = { 0 };

	look_for_all(text, len, specified, &p);
	if (p.n == 0) {
		int r = mvm_error_set(err, -ENOENT,
				      "the wrong hash '%s' is not in " FLAKE_NIX
				      "; the right one is '%s'",
				      specified, got);
		return mvm_error_hint(err, r, "replace it in the file that defines it");
	}
	if (p.n > 1) {
		int r = mvm_error_set(err, -EINVAL,
				      "the wrong hash '%s' is in " FLAKE_NIX
				      " %zu times; one of them should be '%s'",
				      specified, p.n, got);
		return mvm_error_hint(err, r, "give every hash a placeholder of its own");
	}
	strbuf_add(&b, text, p.at);
	strbuf_adds(&b, got);
	strbuf_add(&b, text + p.at + p.len, len - p.at - p.len);
	*ret_len = b.len;
	char *changed = strbuf_take(&b);
	if (!changed)
		return mvm_error_oom(err);
	*ret = changed;
	return 0;
}

void nix_hash_done(struct nix_hash_edit *e)
{
	free(e->original);
	free(e->current);
	if (e->dir_fd >= 0)
		close(e->dir_fd); /* a folder */
	*e = (struct nix_hash_edit)NIX_HASH_EDIT_NONE;
}

static int read_flake(int dir_fd, char **ret, size_t *ret_len, struct stat *ret_st)
{
	AUTO_CLOSE int fd = openat(dir_fd, FLAKE_NIX, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	if (fd < 0 || fstat(fd, ret_st) < 0)
		return -errno;
	if (!S_ISREG(ret_st->st_mode))
		return -EINVAL;
	return file_read_fd(fd, FLAKE_NIX_MAX, ret, ret_len);
}

int nix_hash_open(const char *folder, struct nix_hash_edit *ret, struct mvm_error *err)
{
	AUTO_DONE(nix_hash_edit) e = NIX_HASH_EDIT_NONE;
	struct stat st = { 0 };

	e.dir_fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	int r = e.dir_fd < 0 ? -errno : read_flake(e.dir_fd, &e.original, &e.original_len, &st);
	if (r < 0)
		return mvm_error_set(err, r, "cannot read '%s/" FLAKE_NIX "': %s", folder,
				     strerror(-r));
	e.mode = st.st_mode & 07777;
	e.uid = st.st_uid;
	e.gid = st.st_gid;
	*ret = e;
	e = (struct nix_hash_edit)NIX_HASH_EDIT_NONE;
	return 0;
}

/* Check that the file is as this edit left it, so that no foreign change is lost. */
static int check_unchanged(const struct nix_hash_edit *e, struct mvm_error *err)
{
	AUTO_FREE char *now = NULL;
	struct stat st = { 0 };
	size_t len = 0;
	const char *expected = e->current ? e->current : e->original;
	size_t expected_len = e->current ? e->current_len : e->original_len;

	int r = read_flake(e->dir_fd, &now, &len, &st);
	if (r < 0)
		return mvm_error_set(err, r, "cannot read " FLAKE_NIX ": %s", strerror(-r));
	if (len != expected_len || !now || memcmp(now, expected, len) != 0)
		return mvm_error_set(err, -EBUSY, "another process has changed " FLAKE_NIX);
	return 0;
}

static int write_flake(const struct nix_hash_edit *e, const char *text, size_t len,
		       struct mvm_error *err)
{
	int r = check_unchanged(e, err);
	if (r < 0)
		return r;
	r = file_replace_at(e->dir_fd, e->dir_fd, FLAKE_NIX, text, len, e->mode);
	if (r == 0 && geteuid() == 0 && fchownat(e->dir_fd, FLAKE_NIX, e->uid, e->gid, 0) < 0)
		r = -errno;
	return r < 0 ? mvm_error_set(err, r, "cannot write " FLAKE_NIX ": %s", strerror(-r)) : 0;
}

int nix_hash_update(struct nix_hash_edit *e, const char *specified, const char *got,
		    struct mvm_error *err)
{
	AUTO_FREE char *changed = NULL;
	const char *text = e->current ? e->current : e->original;
	size_t len = 0;

	int r = nix_hash_replace(text, e->current ? e->current_len : e->original_len, specified,
				 got, &changed, &len, err);
	if (r == 0)
		r = write_flake(e, changed, len, err);
	if (r < 0)
		return r;
	free(e->current);
	e->current = TAKE_PTR(changed);
	e->current_len = len;
	e->changes++;
	return 0;
}

int nix_hash_restore(struct nix_hash_edit *e, struct mvm_error *err)
{
	if (!e->current)
		return 0;
	int r = write_flake(e, e->original, e->original_len, err);
	if (r < 0)
		return r;
	free(e->current);
	e->current = NULL;
	return 0;
}
