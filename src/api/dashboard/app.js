'use strict';
// The dashboard: shows what the read API tells, and changes nothing. Everything that comes from the API is put on the
// page as text, never as HTML.
(() => {
  const API = new URL('../api/', document.baseURI);
  const REFRESH_MS = 5000;
  const PER_PAGE = 50;
  const SECTIONS = [
    ['', 'Overview'],
    ['http/routers', 'HTTP routers'], ['http/services', 'HTTP services'], ['http/middlewares', 'HTTP middlewares'],
    ['tcp/routers', 'TCP routers'], ['tcp/services', 'TCP services'], ['tcp/middlewares', 'TCP middlewares'],
    ['udp/routers', 'UDP routers'], ['udp/services', 'UDP services'],
    ['certificates', 'Certificates'], ['entrypoints', 'Entry points'], ['peers', 'Peers'],
  ];
  const main = document.getElementById('main');
  let shown = 0;

  const element = (tag, attributes, ...children) => {
    const made = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes || {})) {
      if (value !== undefined && value !== null) made.setAttribute(name, value);
    }
    made.append(...children.filter(child => child !== undefined && child !== null && child !== ''));
    return made;
  };
  const link = (path, text) => element('a', {href: '#/' + path}, text);
  const state = value => element('span', {class: String(value || '').toLowerCase()}, String(value || ''));

  const call = async path => {
    const answer = await fetch(new URL(path, API), {headers: {accept: 'application/json'}});
    const body = await answer.json().catch(() => null);
    if (!answer.ok) {
      const error = new Error((body && (body.message || body.detail)) || 'status ' + answer.status);
      error.status = answer.status;
      throw error;
    }
    return {body, next: Number(answer.headers.get('x-next-page') || 1)};
  };

  const table = (columns, rows) => element('div', {class: 'scroll'}, element('table', {},
    element('thead', {}, element('tr', {}, ...columns.map(([title]) => element('th', {scope: 'col'}, title)))),
    element('tbody', {}, ...rows.map(row => element('tr', {},
      ...columns.map(([, cell]) => element('td', {}, cell(row))))))));

  const list = values => (values || []).join(', ');
  const errors = row => element('span', {class: 'disabled'}, (row.error || []).join('; '));
  const named = section => ['Name', row => link(section + '/' + encodeURIComponent(row.name), row.name)];
  const status = ['Status', row => state(row.status)];
  const provider = ['Provider', row => row.provider || ''];

  const servers = row => {
    const states = Object.entries(row.serverStatus || {});
    if (!states.length) return '';
    const up = states.filter(([, value]) => value === 'UP').length;
    return element('span', {class: up === states.length ? 'up' : 'down'}, up + ' of ' + states.length + ' up');
  };

  const columns = section => {
    switch (section) {
      case 'http/routers':
      case 'tcp/routers':
        return [status, named(section), ['Rule', row => element('code', {}, row.rule || '')],
          ['Entry points', row => list(row.using || row.entryPoints)], ['Service', row => row.service || ''],
          ['Priority', row => row.priorityStr || ''], ['TLS', row => row.tls ? 'yes' : ''], provider, ['Errors', errors]];
      case 'udp/routers':
        return [status, named(section), ['Entry points', row => list(row.using || row.entryPoints)],
          ['Service', row => row.service || ''], provider, ['Errors', errors]];
      case 'http/services':
      case 'tcp/services':
      case 'udp/services':
        return [status, named(section), ['Type', row => row.type || ''], ['Servers', servers],
          ['Used by', row => list(row.usedBy)], provider, ['Errors', errors]];
      case 'http/middlewares':
      case 'tcp/middlewares':
        return [status, named(section), ['Type', row => row.type || ''], ['Used by', row => list(row.usedBy)],
          provider, ['Errors', errors]];
      case 'certificates':
        return [status, ['Names', row => link('certificates/' + encodeURIComponent(row.name),
          list(row.sans) || row.commonName || row.name)],
        ['Issuer', row => row.issuerCN || row.issuerOrg || ''], ['Valid until', row => row.notAfter || ''],
        ['Key', row => [row.keyType, row.keySize].filter(Boolean).join(' ')]];
      default:
        return [named(section), ['Address', row => element('code', {}, row.address || '')],
          ['TLS', row => row.http && row.http.tls ? 'yes' : '']];
    }
  };

  const count = (title, path, counts) => {
    if (!counts) return null;
    const parts = [];
    if (counts.errors) parts.push(element('span', {class: 'disabled'}, counts.errors + ' with errors '));
    if (counts.warnings) parts.push(element('span', {class: 'warning'}, counts.warnings + ' with warnings'));
    if (!parts.length) parts.push(element('span', {class: 'enabled'}, counts.total ? 'all fine' : 'none'));
    return element('a', {class: 'card', href: '#/' + path}, title, element('b', {}, String(counts.total)), ...parts);
  };

  const overview = async () => {
    const [{body: all}, {body: entryPoints}] = await Promise.all([call('overview'), call('entrypoints?per_page=100')]);
    const cards = [];
    for (const protocol of ['http', 'tcp', 'udp']) {
      for (const kind of ['routers', 'services', 'middlewares']) {
        cards.push(count(protocol.toUpperCase() + ' ' + kind, protocol + '/' + kind, (all[protocol] || {})[kind]));
      }
    }
    cards.push(count('Certificates', 'certificates', all.certificates));
    const features = Object.entries(all.features || {}).map(([name, value]) => ({name, value}));
    return [
      element('h1', {}, 'Overview'),
      element('div', {class: 'cards'}, ...cards.filter(Boolean)),
      element('h2', {}, 'Entry points'), table(columns('entrypoints'), entryPoints),
      element('h2', {}, 'Features'),
      table([['Feature', row => row.name], ['State', row => row.value === true ? 'on' : row.value || 'off']], features),
      element('p', {}, 'Providers: ' + (list(all.providers) || 'none')),
      ...await peers(element('h2', {}, 'Peers')),
    ];
  };

  const peers = async title => {
    let cluster;
    try {
      cluster = (await call('cluster')).body;
    } catch (error) {
      if (error.status === 404 || error.status === 409) {
        return [title, element('p', {class: 'muted'}, 'This peer is alone: no cluster is configured.')];
      }
      throw error;
    }
    const agree = new Set(cluster.peers.map(peer => peer.planDigest).filter(Boolean)).size < 2;
    return [
      title,
      element('p', {}, 'This is ', element('b', {}, cluster.name), '. Leader: ' + (cluster.leader || 'none') +
        ', term ' + cluster.term + ', revision ' + cluster.revision + '. ',
      element('span', {class: agree ? 'enabled' : 'warning'},
        agree ? 'All follow the same plan.' : 'Plans differ: some are behind.')),
      table([
        ['Reachable', row => element('span', {class: row.reachable ? 'up' : 'down'}, row.reachable ? 'yes' : 'no')],
        ['Name', row => row.name + (row.leader ? ' (leader)' : '')],
        ['Address', row => element('code', {}, row.address || '')],
        ['Role', row => row.role || ''],
        ['Ready', row => element('span', {class: row.ready ? 'up' : 'down'}, row.ready ? 'yes' : 'no')],
        ['Revision', row => row.revision === null || row.revision === undefined ? '' : String(row.revision)],
        ['Plan', row => element('code', {}, (row.planDigest || '').slice(0, 12))],
        ['Last contact', row => Number.isFinite(row.lastContactMs) ? row.lastContactMs + ' ms' : ''],
        ['Release', row => row.release || ''],
      ], cluster.peers),
    ];
  };

  const objects = async (section, query) => {
    const wanted = new URLSearchParams();
    const page = Number(query.get('page') || 1);
    for (const name of ['search', 'status']) if (query.get(name)) wanted.set(name, query.get(name));
    const here = new URLSearchParams(wanted);
    wanted.set('page', page);
    wanted.set('per_page', PER_PAGE);
    const {body, next} = await call(section + '?' + wanted);
    const go = (target, text) => {
      const there = new URLSearchParams(here);
      if (target > 1) there.set('page', target);
      return link(section + (String(there) ? '?' + there : ''), text);
    };
    const title = SECTIONS.find(([path]) => path === section)[1];
    const parts = [element('h1', {}, title)];
    if (section !== 'entrypoints') {
      const search = element('input', {type: 'search', name: 'search', placeholder: 'Search', 'aria-label': 'Search',
        value: query.get('search') || ''});
      const choice = element('select', {name: 'status', 'aria-label': 'Status'}, ...['', 'enabled', 'warning', 'disabled']
        .map(value => element('option', {value, selected: value === (query.get('status') || '') ? '' : null},
          value || 'any status')));
      const form = element('form', {}, search, choice, element('button', {}, 'Show'));
      form.addEventListener('submit', event => {
        event.preventDefault();
        const asked = new URLSearchParams();
        if (search.value) asked.set('search', search.value);
        if (choice.value) asked.set('status', choice.value);
        location.hash = '#/' + section + (String(asked) ? '?' + asked : '');
      });
      parts.push(form);
    }
    parts.push(body.length ? table(columns(section), body) : element('p', {class: 'muted'}, 'Nothing to show.'));
    const pages = element('p', {});
    if (page > 1) pages.append(go(page - 1, '← previous'), ' ');
    if (next > page) pages.append(go(next, 'next →'));
    parts.push(pages);
    return parts;
  };

  const object = async (section, name) => {
    const {body} = await call(section + '/' + encodeURIComponent(name));
    const facts = [['Status', state(body.status)], ['Provider', body.provider], ['Type', body.type],
      ['Rule', body.rule && element('code', {}, body.rule)], ['Used by', list(body.usedBy)],
      ['Servers', servers(body)]].filter(([, value]) => value);
    return [
      element('p', {}, link(section, '← ' + SECTIONS.find(([path]) => path === section)[1])),
      element('h1', {}, body.name || name),
      ...(body.error || []).map(text => element('p', {class: 'notice'}, text)),
      table([['', ([title]) => title], ['', ([, value]) => value]], facts),
      element('h2', {}, 'As the API tells it'),
      element('pre', {}, JSON.stringify(body, null, 2)),
    ];
  };

  const page = async () => {
    const [path, query] = location.hash.replace(/^#\/?/, '').split('?');
    if (path === '') return overview();
    if (path === 'peers') return peers(element('h1', {}, 'Peers'));
    const section = SECTIONS.map(([known]) => known).filter(Boolean)
      .find(known => path === known || path.startsWith(known + '/'));
    if (!section) return [element('h1', {}, 'There is no such page'), element('p', {}, link('', 'Overview'))];
    if (path === section) return objects(section, new URLSearchParams(query || ''));
    return object(section, decodeURIComponent(path.slice(section.length + 1)));
  };

  const show = async again => {
    const mine = ++shown;
    for (const entry of document.querySelectorAll('#nav a')) {
      const target = entry.getAttribute('href').slice(2);
      const here = location.hash.replace(/^#\/?/, '').split('?')[0];
      const current = target === '' ? here === '' : here === target || here.startsWith(target + '/');
      if (current) entry.setAttribute('aria-current', 'page'); else entry.removeAttribute('aria-current');
    }
    let parts;
    try {
      parts = await page();
    } catch (error) {
      parts = [element('p', {class: 'notice'}, 'The API cannot be read: ' + error.message)];
    }
    // Only the newest wish is shown, and nobody is interrupted while typing or walking through links.
    if (mine === shown && !(again && main.contains(document.activeElement))) main.replaceChildren(...parts);
  };

  document.getElementById('nav').append(...SECTIONS.map(([path, title]) => link(path, title)));
  call('version').then(({body}) => {
    document.getElementById('version').textContent = body.Version || '';
    if (body.dashboardName) {
      document.getElementById('title').textContent = body.dashboardName;
      document.title = body.dashboardName + ' – Pontoon';
    }
  }).catch(() => {});
  addEventListener('hashchange', () => {
    if (document.activeElement) document.activeElement.blur();
    show(false);
  });
  setInterval(() => { if (!document.hidden) show(true); }, REFRESH_MS);
  show(false);
})();
