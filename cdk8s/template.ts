/** File name → text, per component and role folder: `templates.postfix.mx['main.cf']`. */
export type Templates = Readonly<
  Record<string, Readonly<Record<string, Readonly<Record<string, string>>>>>
>;
