"""One exchange over one connection: what is sent, asked, received, and where it lands."""
