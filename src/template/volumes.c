/* SPDX-License-Identifier: Apache-2.0 */

#include <errno.h>
#include <mvm/instance.h>
#include <string.h>
#include <sys/stat.h>

#include "base/clock.h"
#include "base/error.h"
#include "instance/copy.h"
#include "instance/instance.h"
#include "template/context.h"

void mvm_volume_done(struct mvm_volume *v)
{
	free(v->host);
	free(v->guest);
	*v = (struct mvm_volume){ 0 };
}
DEFINE_AUTO_DONE(mvm_volume, mvm_volume_done)

int mvm_volume_parse(const char *text, struct mvm_volume *ret, struct mvm_error *err)
{
	AUTO_DONE(mvm_volume) v = { 0 };
	struct stat st;
	size_t host_len = strcspn(text, ":");
	const char *guest = text + host_len + (text[host_len] == ':');
	size_t guest_len = strcspn(guest, ":");
	const char *mode = guest + guest_len;

	v.write_back = str_eq(mode, ":rw");
	if (host_len == 0 || guest[0] != '/' || (*mode && !v.write_back && !str_eq(mode, ":ro")))
		return mvm_error_set(err, -EINVAL,
				     "'%s' is no volume: write HOST:GUEST or HOST:GUEST:rw, as in "
				     "./data:/srv/data",
				     text);
	AUTO_FREE char *host = strndup(text, host_len);
	v.guest = strndup(guest, guest_len);
	if (!host || !v.guest)
		return mvm_error_oom(err);
	v.host = realpath(host, NULL);
	int r = !v.host || stat(v.host, &st) < 0 ? -errno : S_ISDIR(st.st_mode) ? 0 : -ENOTDIR;
	if (r < 0)
		return mvm_error_set(err, r, "cannot use '%s' as a volume: %s", host, strerror(-r));
	*ret = v;
	v = (struct mvm_volume){ 0 };
	return 0;
}

/* All that shall come back, one after the other; what fails is named. */
static int copy_all_back(struct mvm_instance *i, const struct record *rec, int64_t deadline_ns,
			 int cancel_fd, struct mvm_error *err)
{
	AUTO_DONE(strbuf) lost = { 0 };
	struct mvm_error why = { 0 };
	int result = 0;
	for (size_t k = 0; k < rec->n_volumes; k++) {
		const struct record_volume *v = &rec->volumes[k];
		int r = 0;
		if (v->write_back)
			r = volume_copy_back(&i->control, v, deadline_ns, cancel_fd, &why);
		if (r == 0)
			continue;
		strbuf_addf(&lost, "%s'%s' did not come back to '%s': %s", lost.len ? "; " : "",
			    v->guest, v->host, why.text);
		result = r;
	}
	if (result == 0)
		return 0;
	return lost.failed ? mvm_error_oom(err) : mvm_error_set(err, result, "%s", lost.data);
}

int mvm_instance_copy_back(struct mvm *mvm, const char *name,
			   const struct mvm_copy_options *options, struct mvm_error *err)
{
	AUTO_DONE(record) rec = { 0 };
	struct mvm_instance *i = NULL;
	int64_t deadline_ns = clock_deadline_ns(options ? options->timeout_ms : -1);
	int fd = store_dir_get(mvm->store, STORE_INSTANCES, err);
	int r = fd < 0 ? fd : instance_load(fd, name, &rec, NULL, err);
	if (r < 0)
		return r;
	bool wanted = false;
	for (size_t k = 0; k < rec.n_volumes; k++)
		wanted |= rec.volumes[k].write_back;
	if (!wanted || rec.state == RECORD_STARTING)
		return 0; /* of a guest that is not up there is nothing to have back */
	r = mvm_instance_open(mvm, name, &i, err);
	if (r == 0)
		r = copy_all_back(i, &rec, deadline_ns, options ? options->cancel_fd : -1, err);
	mvm_instance_close(i);
	return r;
}
