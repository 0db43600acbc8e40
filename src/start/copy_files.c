/* SPDX-License-Identifier: Apache-2.0 */
/* The public functions that copy files into and out of instances. */
#include "instance/copy.h"

#include <errno.h>

#include "base/error.h"
#include "base/extend.h"
#include "base/progress.h"
#include "instance/instance.h"
#include "start/volumes.h"

static int tell(int r, const struct strbuf *text, const struct mvm_progress *progress)
{
	if (r == 0 && text->len)
		progress_note(progress, "%s", text->data);
	return r;
}

int copy_options_take(const struct mvm_copy_options *from, const struct mvm_progress *progress,
		      struct copy_options *ret, struct mvm_error *err)
{
	struct mvm_copy_options o;
	int r = mvm_struct_take(&o, sizeof(o), STRUCT_END(struct mvm_copy_options, idle_ms), from,
				err);
	if (r < 0)
		return r;
	*ret = (struct copy_options){
		.follow_link = o.follow_link,
		.max_bytes = o.max_bytes,
		.stream_fd = o.stream_fd ? *o.stream_fd : -1,
		.timeout_ms = o.timeout_ms > 0 ? o.timeout_ms : -1,
		.idle_ms = o.idle_ms,
		.progress = progress,
	};
	return 0;
}

/* A copy needs a path on this host or a stream. */
static int check_path(const char *host_path, const struct copy_options *o, struct mvm_error *err)
{
	if (host_path || o->stream_fd >= 0)
		return 0;
	return mvm_error_set(err, -EINVAL, "the copy has neither a path on this host nor a stream");
}

int mvm_instance_copy_in(struct mvm_instance *i, const char *host_path, const char *guest_path,
			 const struct mvm_copy_options *options,
			 const struct mvm_progress *progress, struct mvm_error *err)
{
	AUTO_DONE(strbuf) text = { 0 };
	struct progress_watch watch;
	struct copy_options o;
	int r = progress_take(&watch, &progress, err);
	if (r == 0)
		r = copy_options_take(options, progress, &o, err);
	if (r == 0)
		r = check_path(host_path, &o, err);
	if (r == 0)
		r = copy_in(&i->control, host_path, guest_path, &o, &text, err);
	return tell(r, &text, progress);
}

int mvm_instance_copy_out(struct mvm_instance *i, const char *guest_path, const char *host_path,
			  const struct mvm_copy_options *options,
			  const struct mvm_progress *progress, struct mvm_error *err)
{
	AUTO_DONE(strbuf) text = { 0 };
	struct progress_watch watch;
	struct copy_options o;
	int r = progress_take(&watch, &progress, err);
	if (r == 0)
		r = copy_options_take(options, progress, &o, err);
	if (r == 0)
		r = check_path(host_path, &o, err);
	if (r == 0)
		r = copy_out(&i->control, guest_path, host_path, &o, &text, err);
	return tell(r, &text, progress);
}
