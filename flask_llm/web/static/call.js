// The page of one call: its times in the reader's own time zone.

import { localize } from "./times.js";

localize(document, Date.now() / 1000);
