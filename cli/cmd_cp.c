/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "guest_command.h"
#include "handles.h"
#include "names.h"
#include "options.h"

/* One side of a copy: a path here, "-", or NAME:PATH. */
struct side {
	char name[64]; /* the instance; "" on this host */
	const char *path;
};

/* "./a:b" and "/a:b" are files here. */
static struct side parse_side(const char *text)
{
	struct side s = { .path = text };
	size_t len = strcspn(text, ":/");
	if (text[len] == ':' && len > 0 && len < sizeof(s.name)) {
		memcpy(s.name, text, len);
		s.path = text + len + 1;
	}
	return s;
}

static int run(struct cli_context *c, const struct args *a)
{
	AUTO(mvm) mvm = NULL;
	AUTO(mvm_instance) instance = NULL;
	AUTO_CLOSE int signals = -1;
	const struct side from = parse_side(args_at(a, 0)), to = parse_side(args_at(a, 1));
	const struct side *here = from.name[0] ? &to : &from, *guest = from.name[0] ? &from : &to;

	if (!from.name[0] == !to.name[0])
		return cli_usage(c, "one of SRC and DST is NAME:PATH, the other a path here or -");
	if (guest->path[0] != '/')
		return cli_usage(c, "'%s': a path in the guest begins with a slash", guest->path);
	if (check_name(c, VALUE_INSTANCE, guest->name, NULL) < 0)
		return -EINVAL;
	bool stream = str_eq(here->path, "-");
	if (stream && here == &to && isatty(STDOUT_FILENO))
		return cli_usage(c, "a tar would garble the terminal: write it to a file");
	if (!here->path[0])
		return cli_usage(c, "the path of this host is empty: name a file or folder");
	const int stream_fd = here == &to ? STDOUT_FILENO : STDIN_FILENO;
	const struct mvm_copy_options options = {
		.size = sizeof(options),
		.follow_link = args_flag(a, "follow-link"),
		.max_bytes = (uint64_t)args_u32(a, "max-size", 0) << 20,
		.stream_fd = &stream_fd,
		.timeout_ms = args_ms(a, "timeout", 0),
	};
	signals = guest_signals_block(false);
	c->progress.cancel_fd = &signals;
	const char *path = stream ? NULL : here->path;
	int r = mvm_open(c->data_dir, &mvm, &c->err);
	if (r == 0)
		r = mvm_instance_open(mvm, guest->name, &instance, &c->err);
	if (r < 0)
		return r;
	if (here == &from)
		r = mvm_instance_copy_in(instance, path, guest->path, &options, &c->progress,
					 &c->err);
	else
		r = mvm_instance_copy_out(instance, guest->path, path, &options, &c->progress,
					  &c->err);
	c->progress.cancel_fd = NULL;
	if (r == -ECANCELED)
		c->failure_status = 128 + guest_signals_take(signals);
	guest_signals_unblock(); /* the last words may wait for a reader for ever */
	return r;
}

static const struct option options[] = {
	{ .name = "follow-link",
	  .letter = 'L',
	  .kind = OPTION_FLAG,
	  .help = "if SRC is a symbolic link, copy its target" },
	{ .name = "max-size",
	  .kind = OPTION_SIZE,
	  .value = "SIZE",
	  .min = 1,
	  .help = "refuse to copy more than this out of a guest (64G)" },
	{ .name = "timeout",
	  .kind = OPTION_DURATION,
	  .value = "TIME",
	  .help = "stop the copy after this time" },
	{ 0 },
};

const struct command command_cp = {
	.path = "cp",
	.summary = "Copy files into or out of a running VM",
	.details = "Copies files, folders and symbolic links with their modes and "
		   "times, without their owners. If DST is a folder, SRC goes into it; "
		   "else DST is the new name. A SRC that ends in '/.' stands for the "
		   "contents of that folder. A - instead of a path of this host reads "
		   "a tar from standard input, or writes one to standard "
		   "output.\n\nNothing is written outside DST: absolute names, '..' "
		   "and links that would lead outside are refused. Write './' before a "
		   "path of this host that contains a ':'.",
	.examples = "mvm cp ./app http-1:/srv/app\n"
		    "mvm cp http-1:/var/log/. ./logs\n"
		    "mvm cp http-1:/etc - | tar t",
	.positionals = { { .name = "SRC",
			   .help = "a path here, NAME:PATH, or -",
			   .hint = VALUE_FILE },
			 { .name = "DST",
			   .help = "a path here, NAME:PATH, or -",
			   .hint = VALUE_FILE } },
	.options = options,
	.run = run,
};
